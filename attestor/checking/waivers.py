"""What the owner of a plugin lets pass although a check did not: each waiver with a reason and an end.

[[waiver]]
check = "egress-tests"
waives = "not-run"
reason = "The plugin declares no egress."
expires = "2026-12-31T00:00:00Z"
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from verifier.errors import FormatError
from verifier.files import read_capped
from verifier.formats.findings import CHECKS, Check, CheckName, Waiver
from verifier.formats.strict_json import Document, convert, quoted
from verifier.formats.text import Sentence, Time

MAX_WAIVERS = 64 * 1024
"""Size cap of a file of waivers in bytes."""


class _Waiver(Document, frozen=True, kw_only=True):
    check: CheckName
    waives: Literal["failed", "not-run"]
    reason: Sentence
    expires: Time


class _File(Document, frozen=True, kw_only=True):
    waiver: Annotated[tuple[_Waiver, ...], Meta(max_length=len(CHECKS))] = ()

    def __post_init__(self) -> None:
        names = [entry.check for entry in self.waiver]
        if len(set(names)) != len(names):
            raise ValueError("expected one waiver for a check at most")


@dataclass(frozen=True)
class Waivers:
    """Waivers by check, and the sha256 (hex) of the file that they stand in; empty when there is none."""

    of: Mapping[CheckName, Waiver] = field(default_factory=dict)
    sha256: str = ""

    def apply(self, check: Check, now: datetime) -> Check:
        """The check as it counts: waived when it did not pass, and a waiver of exactly that is in force."""
        waiver = self.of.get(check.name)
        if waiver is None or check.result != waiver.waives:
            return check
        if waiver.expires.instant <= now:
            return replace(check, reason=f"{check.reason}; its waiver expired on {waiver.expires}")
        return replace(check, result="waived", waiver=waiver)


def read_waivers(path: Path) -> Waivers:
    """Read a file of waivers.

    Raises:
        UsageError: it cannot be read.
        FormatError: ``format.syntax``, ``format.schema``.
    """
    data = read_capped(path, MAX_WAIVERS, "the waivers")
    try:
        value = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError("format.syntax", "the waivers are not TOML", found=quoted(str(error))) from error
    found = convert(value, _File, what="waivers")
    return Waivers(
        of={
            entry.check: Waiver(waives=entry.waives, reason=entry.reason, expires=entry.expires)
            for entry in found.waiver
        },
        sha256=hashlib.sha256(data).hexdigest(),
    )
