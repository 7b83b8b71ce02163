"""The report of what a host loaded although nobody attested it (``docs/spec/policy.md``, "Exceptions")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import PLAIN, Time, Version

FILE_NAME: Final = "unattested.jsonl"
"""The report's name in the host's directory: a JSON object a line, one for each time that something was loaded."""
MAX_REPORT: Final = 64 << 20
"""Bytes of the report past which nothing more is loaded: somebody has to read it."""
MAX_LINE: Final = 16 << 10
"""Size cap of one line in bytes."""


class LoadedUnattested(Document, frozen=True, kw_only=True):
    """One line: ``name`` in ``version``, by its own word, was loaded from ``place`` at ``at``, though it was refused
    with ``code``, by the profile's exception, which was to last ``until``.
    """

    at: Time
    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[a-z0-9]+(-[a-z0-9]+)*\Z")]
    version: Version
    code: Annotated[str, Meta(min_length=1, max_length=80, pattern=r"\A[a-z.-]+\Z")]
    profile: Literal["development", "migration"]
    until: Time
    place: Annotated[str, Meta(max_length=4096, pattern=PLAIN)]


def dump_line(line: LoadedUnattested) -> bytes:
    """One line of the report, with its end."""
    return dumps(line) + b"\n"


def parse_report(data: bytes) -> list[LoadedUnattested]:
    """Read the whole report.

    Raises:
        FormatError: any ``format.*`` code; the report names the line. Also for a line that was cut off.
    """
    if len(data) > MAX_REPORT + MAX_LINE:
        raise FormatError("format.too-large", "the report of unattested plugins is too large", found=str(len(data)))
    lines = data.split(b"\n")
    if lines.pop():
        raise FormatError("format.syntax", f"line {len(lines) + 1} of {FILE_NAME} was cut off")
    return list(_parsed(lines))


def _parsed(lines: Iterable[bytes]) -> Iterable[LoadedUnattested]:
    for number, line in enumerate(lines, 1):
        yield parse(line, LoadedUnattested, limit=MAX_LINE, what=f"line {number} of {FILE_NAME}")
