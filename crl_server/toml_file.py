"""Files of settings: TOML that people write, read as strictly as every other document."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from verifier.errors import FormatError
from verifier.files import read_capped
from verifier.formats.strict_json import convert

T = TypeVar("T")

MAX_SETTINGS = 64 * 1024
"""Size cap of such a file in bytes."""


def read_toml(path: Path, type_: type[T]) -> T:
    """Read a file of settings as a ``type_``, which has a default for everything; where there is none, that default.

    Raises:
        FormatError: any ``format.*`` code.
        UsageError: ``io.failed``.
    """
    return parse_toml(read_capped(path, MAX_SETTINGS, path.name), type_, path.name) if path.exists() else type_()


def parse_toml(data: bytes, type_: type[T], what: str) -> T:
    """Read settings as a ``type_``.

    Raises:
        FormatError: any ``format.*`` code.
    """
    if len(data) > MAX_SETTINGS:
        raise FormatError("format.too-large", f"{what} is too large", expected=f"at most {MAX_SETTINGS} bytes")
    try:
        table: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError("format.encoding", f"{what} is not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("format.syntax", f"{what} is not TOML", found=str(error)[:200]) from error
    return convert(table, type_, what=what)
