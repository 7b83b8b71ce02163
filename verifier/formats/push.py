"""Announcements of the push stream: the signed head, and the newest segment that it names (docs/spec/push.md)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.dsse import decode_base64, encode_base64
from verifier.formats.strict_json import Document, dumps, parse

MAX_LINE = 2 * 1024 * 1024
"""Size cap of one line of the stream in bytes."""
MAX_PUSHED_HEAD = 1024 * 1024
"""Size cap of the head's envelope in bytes."""
MAX_PUSHED_SEGMENT = 64 * 1024
"""Size cap of a segment that goes along, in bytes; a larger one is fetched."""
EVENT = "list"
"""The type of the events that carry announcements."""

_WHAT = "announcement"


class Announcement(NamedTuple):
    """What is pushed: the bytes of ``lists/head.json``, and of a segment or nothing. Neither is verified here."""

    head: bytes
    segment: bytes


class _Wire(Document, frozen=True, kw_only=True):
    v: Literal[1]
    head: Annotated[str, Meta(min_length=4)]
    segment: str


def dump_announcement(announcement: Announcement) -> bytes:
    """Write the data of one event: a line of JSON without its end.

    Raises:
        FormatError: ``format.too-large``.
    """
    _check_sizes(announcement)
    head, segment = (encode_base64(part) for part in announcement)
    return dumps(_Wire(v=1, head=head, segment=segment))


def parse_announcement(data: bytes) -> Announcement:
    """Read the data of one event.

    Raises:
        FormatError: any ``format.*`` code.
    """
    wire = parse(data, _Wire, limit=MAX_LINE, what=_WHAT)
    announcement = Announcement(decode_base64(wire.head, _WHAT), decode_base64(wire.segment, _WHAT))
    _check_sizes(announcement)
    return announcement


def _check_sizes(announcement: Announcement) -> None:
    for field, cap in (("head", MAX_PUSHED_HEAD), ("segment", MAX_PUSHED_SEGMENT)):
        size = len(getattr(announcement, field))
        if size > cap:
            raise FormatError(
                "format.too-large", f"{_WHAT}: {field} exceeds its cap",
                found=f"{size} bytes", expected=f"at most {cap} bytes",
            )  # fmt: skip
