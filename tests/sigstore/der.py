"""The little ASN.1 that a timestamp authority needs: DER, written and read (X.690)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BOOLEAN, INTEGER, OCTETS, NULL, OID, UTF8, GENERALIZED_TIME = 0x01, 0x02, 0x04, 0x05, 0x06, 0x0C, 0x18
SEQUENCE, SET = 0x30, 0x31
CONTEXT = 0xA0
"""The constructed context-specific tag 0; add a number for another."""


class Element(NamedTuple):
    """One element: its tag, its content, and its whole encoding."""

    tag: int
    content: bytes
    raw: bytes


def der(tag: int, *parts: bytes) -> bytes:
    """An element of that tag around the parts."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE."""
    return der(SEQUENCE, *parts)


def set_of(*parts: bytes) -> bytes:
    """A SET OF, in DER's order."""
    return der(SET, *sorted(parts))


def integer(value: int) -> bytes:
    """An INTEGER of a value that is not negative."""
    return der(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(septets))
    return der(OID, bytes(content))


def elements(content: bytes) -> Iterator[Element]:
    """The elements of a SEQUENCE's content, one after the other."""
    while content:
        size, start = content[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(content[2:start], "big")
        yield Element(content[0], content[start : start + size], content[: start + size])
        content = content[start + size :]
