"""The enrolment bundle: all that a host pins on its first day, in one file signed by the root keys."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from msgspec import Meta

from verifier.formats.dsse import decode_base64
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Name, Time

MAX_ENROLMENT = 1024 * 1024
"""Size cap of an enrolment payload in bytes."""

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


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
    server: Annotated[str, Meta(pattern=r"\Ahttps?://[A-Za-z0-9.\-:\[\]]+(/[A-Za-z0-9._/\-]*)?\Z", max_length=500)]
    root: Annotated[str, Meta(max_length=MAX_ENROLMENT)]
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
    return parse(payload, Enrolment, limit=MAX_ENROLMENT, what="enrolment bundle")


def dump_enrolment(enrolment: Enrolment) -> bytes:
    """Write an enrolment payload; the inverse of :func:`parse_enrolment`."""
    return dumps(enrolment)


def encode_root(root: bytes) -> str:
    """The root metadata as the bundle's ``root`` field holds it."""
    return base64.b64encode(root).decode("ascii")
