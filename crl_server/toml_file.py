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
    if not path.exists():
        return type_()
    try:
        table: dict[str, Any] = tomllib.loads(read_capped(path, MAX_SETTINGS, path.name).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError("format.encoding", f"{path.name} is not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("format.syntax", f"{path.name} is not TOML", found=str(error)[:200]) from error
    return convert(table, type_, what=path.name)
