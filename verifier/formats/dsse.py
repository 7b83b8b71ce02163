"""DSSE envelopes (Dead Simple Signing Envelope, protocol v1.0.2), as JSON.

An envelope's payload means nothing until a signature over its pre-authentication encoding has been verified; the
field's name says so.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.strict_json import Document, convert, dumps, loads

MAX_ENVELOPE = 24 * 1024 * 1024
"""Size cap of an envelope in bytes."""
MAX_SET = 64 * 1024 * 1024
"""Size cap of an attestation set, which is envelopes in bundles, in bytes."""
MAX_SIGNATURES = 8
"""How many signatures an envelope may carry."""
MAX_SIGNATURE = 4096
"""How many characters of base64 a signature may have."""
MAX_NAME = 300
"""How many characters a payload type or a key id may have."""

IN_TOTO = "application/vnd.in-toto+json"
HEAD = "application/vnd.loadlock.head+json"
HANDOVER = "application/vnd.loadlock.handover+json"
ENROLMENT = "application/vnd.loadlock.enrolment+json"


class Signature(Document, frozen=True, kw_only=True):
    """One signature: the raw signature bytes and the signer's unauthenticated key hint."""

    sig: Annotated[bytes, Meta(max_length=MAX_SIGNATURE // 4 * 3)]
    keyid: Annotated[str, Meta(max_length=MAX_NAME)]


_NAMES: Final = {"unverified_payload": "payload", "payload_type": "payloadType"}


class Envelope(Document, frozen=True, kw_only=True, rename=_NAMES):
    """A signed envelope; ``unverified_payload`` is to be read only by who has verified a signature.

    The fields' order and their names in JSON are those of :func:`wire_of`: what is written so can be read into this.
    """

    unverified_payload: bytes
    payload_type: Annotated[str, Meta(max_length=MAX_NAME)]
    signatures: tuple[Signature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures are over."""
        return pae(self.payload_type, self.unverified_payload)


class _WireSignature(Document, frozen=True, kw_only=True, omit_defaults=False):
    sig: Annotated[str, Meta(max_length=MAX_SIGNATURE)]
    keyid: Annotated[str, Meta(max_length=MAX_NAME)] = ""


class WireEnvelope(Document, frozen=True, kw_only=True):
    """An envelope as JSON has it, in any spelling."""

    payload: str
    payloadType: Annotated[str, Meta(max_length=MAX_NAME)]  # noqa: N815 - the name is DSSE's
    signatures: tuple[_WireSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: ``DSSEv1 len(type) type len(payload) payload`` (DSSE protocol, section 2)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(data: bytes, *, what: str = "envelope") -> Envelope:
    """Read an envelope.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return envelope_of(loads(data, limit=MAX_ENVELOPE, what=what), what=what)


def envelope_of(value: object, *, what: str) -> Envelope:
    """Read an envelope from plain JSON values, as it stands inside a bundle."""
    return opened(convert(value, WireEnvelope, what=what), what=what)


def opened(wire: WireEnvelope, *, what: str) -> Envelope:
    """The envelope out of its JSON form; raises FormatError with any ``format.*`` code."""
    if not 1 <= len(wire.signatures) <= MAX_SIGNATURES:
        raise FormatError(
            "format.schema",
            f"{what} has the wrong number of signatures",
            found=str(len(wire.signatures)),
            expected=f"1 to {MAX_SIGNATURES}",
        )
    signatures = tuple(Signature(keyid=s.keyid, sig=decode_base64(s.sig, what)) for s in wire.signatures)
    return Envelope(
        payload_type=wire.payloadType, unverified_payload=decode_base64(wire.payload, what), signatures=signatures
    )


def dump_envelope(envelope: Envelope) -> bytes:
    """Write an envelope, without key ids that are empty; the inverse of :func:`parse_envelope`."""
    signatures = [{"sig": encode_base64(s.sig)} | ({"keyid": s.keyid} if s.keyid else {}) for s in envelope.signatures]
    return dumps(wire_of(envelope) | {"signatures": signatures})


def wire_of(envelope: Envelope) -> dict[str, object]:
    """The envelope as plain JSON values, as it stands inside a bundle."""
    return {
        "payload": encode_base64(envelope.unverified_payload),
        "payloadType": envelope.payload_type,
        "signatures": [{"sig": encode_base64(s.sig), "keyid": s.keyid} for s in envelope.signatures],
    }


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """Read base64 that is exactly what :func:`encode_base64` writes.

    Raises:
        FormatError: ``format.base64``; a second spelling of the same bytes is refused.
    """
    try:
        data = msgspec.convert(text, bytes)  # it refuses what binascii does in its strict mode, in a fifth of the time
    except (msgspec.ValidationError, UnicodeEncodeError):
        data, canonical = b"", False
    else:
        # Four characters stand for three bytes in one way; only the last group can have a second spelling.
        whole = len(data) // 3
        last = binascii.b2a_base64(data[3 * whole :], newline=False).decode("ascii")
        canonical = len(text) == 4 * whole + len(last) and text.endswith(last)
    if not canonical:
        raise FormatError("format.base64", f"{what} holds malformed base64", found=repr(text[:40]))
    return data
