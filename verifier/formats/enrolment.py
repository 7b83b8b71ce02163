"""The enrolment bundle: all that a host pins on its first day, in one file signed by the root keys."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Annotated, Literal

from msgspec import Meta

from verifier.formats.dsse import decode_base64, encode_base64
from verifier.formats.patterns import compiled
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Name, Text, Time

MAX_ENROLMENT = 1024 * 1024
"""Size cap of an enrolment payload in bytes."""

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class ServerUrl(Text):
    """A server's address: http or https, host, port, path; without user, query or fragment (RFC 3986)."""

    __slots__ = ()
    grammar = (
        r"(?=.{1,500}\Z)https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[([0-9A-Fa-f:.]{2,45})\])"
        r"(?::([1-9][0-9]{0,4}))?(?:/[A-Za-z0-9._/-]*)?"
    )
    words = "a server's address such as 'https://loadlock.example', without user, query or fragment"

    def __new__(cls, value: str) -> ServerUrl:
        new = super().__new__(cls, value)
        match = compiled(cls.grammar).fullmatch(value)
        assert match is not None  # noqa: S101 - the constructor above matched the same grammar
        if match[2] and int(match[2]) > 65535:
            raise ValueError(f"expected {cls.words}, found port {match[2]}")
        if match[1]:
            IPv6Address(match[1])  # raises a ValueError of its own
        return new


class Floor(Document, frozen=True, kw_only=True):
    """The lowest versions a host accepts: of root and targets metadata, and of the revocation list."""

    root: Annotated[int, Meta(ge=1, le=2**31)]
    targets: Annotated[int, Meta(ge=1, le=2**31)]
    epoch: Annotated[int, Meta(ge=1, le=2**31)]
    seq: Count


class Enrolment(Document, frozen=True, kw_only=True):
    """Deployment, server address, root of trust (TUF ``root.json`` in base64) and floor."""

    v: Literal[1]
    deployment: Name
    server: ServerUrl
    root: Annotated[str, Meta(min_length=1, max_length=MAX_ENROLMENT)]
    floor: Floor
    issued: Time

    @property
    def root_bytes(self) -> bytes:
        """The root metadata file's exact bytes.

        Raises:
            FormatError: ``format.base64``.
        """
        return decode_base64(self.root, "enrolment bundle")


def parse_enrolment(payload: bytes) -> Enrolment:
    """Read an enrolment payload.

    Raises:
        FormatError: any ``format.*`` code.
    """
    enrolment = parse(payload, Enrolment, limit=MAX_ENROLMENT, what="enrolment bundle")
    decode_base64(enrolment.root, "enrolment bundle")
    return enrolment


def dump_enrolment(enrolment: Enrolment) -> bytes:
    """Write an enrolment payload; the inverse of :func:`parse_enrolment`."""
    return dumps(enrolment)


def encode_root(root: bytes) -> str:
    """The root metadata as the bundle's ``root`` field holds it."""
    return encode_base64(root)
