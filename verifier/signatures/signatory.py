"""Whoever's signature can be recognised and verified: what keys and keyless identities have in common."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.text import Digest
from verifier.value import Value

if TYPE_CHECKING:
    from verifier.formats.bundle import Bundle


class Made(Value, frozen=True):
    """How a signature was made: with which key of its principal (None for a keyless one), and when by the word of a log
    or timestamp (None where nobody vouches for it).
    """

    key: Digest | None = None
    at: datetime | None = None


NOBODY_VOUCHES = Made()
"""A signature of which neither key nor time is known."""


class Opened(NamedTuple):
    """What a verified signature covers, and how it was made."""

    payload: bytes
    made: Made


class Signatory(Protocol):
    """Somebody who may have signed."""

    @property
    def id(self) -> str:
        """Who this is: a key's id, or an identity in words."""

    def selected_by(self, bundle: Bundle) -> bool:
        """Whether the bundle claims to be by this signatory; nothing follows from it but whom to ask."""

    def open(self, bundle: Bundle) -> Opened:
        """Verify the bundle's signature, and hand out what it covers.

        Raises:
            Refused: ``signature.payload-type`` or another ``signature.*`` code.
        """


def check_payload_type(envelope: dsse.Envelope) -> None:
    """Demand that an envelope holds an in-toto statement.

    Raises:
        Refused: ``signature.payload-type``.
    """
    if envelope.payload_type != dsse.IN_TOTO:
        raise Refused(
            "signature.payload-type",
            "an envelope does not hold an in-toto statement",
            found=ascii(envelope.payload_type[:80]),
            expected=dsse.IN_TOTO,
        )
