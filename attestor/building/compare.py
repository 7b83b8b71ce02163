"""Two wheels → one of four verdicts, and every difference with its place.

The verdicts say different things and are never merged:

    bit-identical                              the same bytes
    bit-identical given the zip header table   the same bytes once order, times, modes and the like are taken from one
    content-identical                          the same files with the same content, compressed to other bytes
    different                                  anything else

Wheels are never repacked to make them equal; the header table is grafted onto a copy, to find out. A wheel that the
strict reader refuses is not compared: the refusal says which of the two, and why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final, NamedTuple

from attestor.building.zip_headers import DEFLATED, Entry, Header, graft, read_entries
from verifier.errors import Refused
from verifier.formats.strict_json import quoted
from verifier.wheels.wheel import read_wheel
from verifier.wheels.wheel_paths import shown

#: How many differences are listed; the rest is counted.
MAX_DIFFERENCES: Final = 100
#: A text longer than this, in bytes or in lines, is not compared line by line.
MAX_TEXT_BYTES: Final = 200_000
MAX_TEXT_LINES: Final = 4_000
#: How much of a text's difference is shown: lines, and characters of each.
MAX_DIFF_LINES: Final = 12
MAX_DIFF_WIDTH: Final = 160

_BLOCK: Final = 1 << 16
_SYSTEMS: Final = {0: "DOS", 3: "Unix"}
_ABSENT: Final = "not there"


class Verdict(StrEnum):
    """How alike two wheels are, from the strictest on."""

    BIT_IDENTICAL = "bit-identical"
    HEADERS = "bit-identical given the zip header table"
    CONTENT = "content-identical"
    DIFFERENT = "different"


class Candidate(NamedTuple):
    """One side of a comparison: what people call it (such as "the rebuilt wheel"), its file name and its bytes."""

    title: str
    file_name: str
    data: bytes


@dataclass(frozen=True)
class Difference:
    """One difference.

    Args:
        entry: the path in the wheel; empty for the archive as a whole.
        field: what differs: ``content``, ``time``, ``mode``, ``order`` and so on.
        one, other: what the two say.
        diff: of a text's content, the first lines of a unified diff.
    """

    entry: str
    field: str
    one: str
    other: str
    diff: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The difference for a person."""
        place = f"{shown(self.entry)[1:-1]}: {self.field}" if self.entry else self.field
        yield f"{place}: {self.one} / {self.other}"
        yield from (f"    {line}" for line in self.diff)


@dataclass(frozen=True)
class Comparison:
    """A verdict and what it rests on.

    Args:
        verdict: one of the four.
        differences: at most :data:`MAX_DIFFERENCES` of them, those of content first.
        more: how many there are beyond these.
        report: what another program says of them, line by line.
    """

    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    more: int = 0
    report: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The differences for a person."""
        for difference in self.differences:
            yield from difference.lines()
        if self.more:
            yield f"and {self.more} more"
        yield from self.report

    def document(self) -> dict[str, Any]:
        """The comparison as plain values, for JSON."""
        differences = [
            {"entry": one.entry, "field": one.field, "one": one.one, "other": one.other, "diff": list(one.diff)}
            for one in self.differences
        ]
        return {
            "verdict": str(self.verdict),
            "differences": differences,
            "more": self.more,
            "report": list(self.report),
        }


def compare(one: Candidate, other: Candidate) -> Comparison:
    """Say how alike two wheels are.

    Args:
        one: the first wheel; differences name its side first.
        other: the second wheel.

    Raises:
        Refused: any ``wheel.*`` code: one of them is no wheel that can be compared, even when the bytes are the same.
    """
    one_files, other_files = _files(one), _files(other)
    found = [] if one.file_name == other.file_name else [
        Difference("", "file name", shown(one.file_name), shown(other.file_name))
    ]  # fmt: skip
    if one.data == other.data:
        return Comparison(Verdict.BIT_IDENTICAL, tuple(found))
    ones, others = read_entries(one.data), read_entries(other.data)
    if one_files != other_files:
        verdict = Verdict.DIFFERENT
        found += _content_differences(one_files, other_files)
    elif graft(one.data, [entry.header for entry in others]) == other.data:
        verdict = Verdict.HEADERS
    else:
        verdict = Verdict.CONTENT
    found += _order(ones, others)
    found += _header_differences(ones, others)
    return Comparison(verdict, tuple(found[:MAX_DIFFERENCES]), max(0, len(found) - MAX_DIFFERENCES))


def _files(candidate: Candidate) -> Mapping[str, bytes]:
    try:
        return read_wheel(candidate.data, candidate.file_name).files
    except Refused as error:
        what = f"{candidate.title} cannot be compared: {error.what}"
        raise Refused(error.code, what, found=error.found, expected=error.expected, todo=error.todo) from error


# -- content -----------------------------------------------------------------------------------------------------------


def _content_differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> Iterator[Difference]:
    """By path; RECORD last, since it only repeats what the others say."""
    for path in sorted({*one, *other}, key=lambda path: (path.endswith(".dist-info/RECORD"), path)):
        if path not in one or path not in other:
            yield Difference(path, "file", _presence(one.get(path)), _presence(other.get(path)))
        elif one[path] != other[path]:
            yield _content_difference(path, one[path], other[path])


def _presence(content: bytes | None) -> str:
    return _ABSENT if content is None else f"{len(content)} bytes"


def _content_difference(path: str, one: bytes, other: bytes) -> Difference:
    lines, others = _text_lines(one), _text_lines(other)
    sizes = (f"{len(one)} bytes", f"{len(other)} bytes")
    if lines is None or others is None:
        return Difference(path, f"content, from byte {_first_difference(one, other)} on", *sizes)
    changed = islice(difflib.unified_diff(lines, others, n=1, lineterm=""), 2, None)
    diff = [quoted(line)[:MAX_DIFF_WIDTH] for line in islice(changed, MAX_DIFF_LINES + 1)]
    if len(diff) > MAX_DIFF_LINES:
        diff[-1] = "…"
    return Difference(path, "content", *sizes, tuple(diff))


def _first_difference(one: bytes, other: bytes) -> int:
    """The offset of the first byte that differs; where one merely goes on, the length of the shorter."""
    start = 0
    while one[start : start + _BLOCK] == other[start : start + _BLOCK]:
        start += _BLOCK
    block, other_block = one[start : start + _BLOCK], other[start : start + _BLOCK]
    places = (at for at, (left, right) in enumerate(zip(block, other_block, strict=False)) if left != right)
    return start + next(places, min(len(block), len(other_block)))


def _text_lines(content: bytes) -> list[str] | None:
    """The lines of a text that is worth showing; None for anything else."""
    if len(content) > MAX_TEXT_BYTES or b"\0" in content or content.count(b"\n") > MAX_TEXT_LINES:
        return None
    try:
        return content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None


# -- headers -----------------------------------------------------------------------------------------------------------


def _order(ones: tuple[Entry, ...], others: tuple[Entry, ...]) -> Iterator[Difference]:
    """Where the order of what both hold first differs."""
    common = {entry.header.name for entry in ones} & {entry.header.name for entry in others}
    order, other_order = (
        [entry.header.path for entry in entries if entry.header.name in common] for entries in (ones, others)
    )
    for place, (path, other_path) in enumerate(zip(order, other_order, strict=True), 1):
        if path != other_path:
            yield Difference("", f"order of entries, from place {place} on", shown(path), shown(other_path))
            return


def _header_differences(ones: tuple[Entry, ...], others: tuple[Entry, ...]) -> Iterator[Difference]:
    there = {entry.header.name: entry for entry in others}
    here = {entry.header.name for entry in ones}
    for entry in ones:
        other = there.get(entry.header.name)
        if other is not None:
            yield from _fields(entry, other)
        elif entry.header.path.endswith("/"):
            yield Difference(entry.header.path, "directory entry", "there", _ABSENT)
    for entry in others:
        if entry.header.name not in here and entry.header.path.endswith("/"):
            yield Difference(entry.header.path, "directory entry", _ABSENT, "there")


def _fields(one: Entry, other: Entry) -> Iterator[Difference]:
    said, other_said = _described(one.header), _described(other.header)
    for field, value in said.items():
        if value != other_said[field]:
            yield Difference(one.header.path, field, value, other_said[field])
    same = (one.header.method, one.size, one.crc) == (other.header.method, other.size, other.crc)
    if same and one.packed != other.packed:
        yield Difference(
            one.header.path, "compressed data (another compressor or level)",
            f"{len(one.packed)} bytes", f"{len(other.packed)} bytes",
        )  # fmt: skip


def _described(header: Header) -> dict[str, str]:
    """Every field of a header in words; two headers are equal when all of these are."""
    date, time = header.date, header.time
    return {
        "time": f"{1980 + (date >> 9)}-{date >> 5 & 15:02}-{date & 31:02} "
        f"{time >> 11:02}:{time >> 5 & 63:02}:{(time & 31) * 2:02}",
        "mode": f"{header.external >> 16:06o}",
        "DOS attributes": f"{header.external & 0xFFFF:#06x}",
        "internal attributes": f"{header.internal:#06x}",
        "system": _SYSTEMS.get(header.made_by >> 8, f"{header.made_by >> 8}"),
        "made by version": f"{header.made_by & 0xFF}",
        "needed version": f"{header.version}",
        "compression": "deflate" if header.method == DEFLATED else "stored",
        "flags": f"{header.flags:#06x}",
        "extra fields": header.extra.hex()[:MAX_DIFF_WIDTH] or "none",
        "sizes": "after the data" if header.deferred else "before the data",
        "zip64 field": "there" if header.zip64 else _ABSENT,
    }
