"""Verifies handovers: both keys have signed, and in time. What a policy makes of it is the policy's business."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.dsse import Envelope
from verifier.formats.handover import Handover, parse_handover
from verifier.signatures.keys import PublicKey

TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two people may differ."""
FindKey = Callable[[str], PublicKey | None]
"""The key with an id, among those that are known already."""


def offered(envelope: Envelope, known: FindKey) -> Handover:
    """What the giver has signed, whether or not the taker has.

    Args:
        envelope: the envelope; its signatures' key ids only select among the keys that are ``known``.
        known: finds the giver's key.

    Raises:
        Refused: ``signature.payload-type``, ``signature.unknown-signer``, ``signature.invalid``; FormatError.
    """
    if envelope.payload_type != dsse.HANDOVER:
        raise Refused(
            "signature.payload-type", "this is no handover", found=ascii(envelope.payload_type[:80]),
            expected=dsse.HANDOVER,
        )  # fmt: skip
    for signature in envelope.signatures:
        giver = known(signature.keyid)
        if giver is None:
            continue
        giver.verify(signature.sig, envelope.signed_bytes)
        handover = parse_handover(envelope.unverified_payload)
        if handover.old == giver.id:
            return handover
    raise Refused(
        "signature.unknown-signer", "the handover is not signed by a key that is known as its giver's",
        found=", ".join(ascii(signature.keyid[:80]) for signature in envelope.signatures),
        expected="a signature by the key that gives", todo="Ask the one who gives to sign with the key of the policy.",
    )  # fmt: skip


def agreed(envelope: Envelope, known: FindKey, now: datetime) -> Handover:
    """What giver and taker have both signed, and that is still in time.

    Raises:
        Refused: as :func:`offered`; ``handover.unsigned`` without the taker, ``handover.expired``.
    """
    handover = offered(envelope, known)
    taker = PublicKey.from_policy(handover.new)
    mine = [signature for signature in envelope.signatures if signature.keyid == taker.id]
    if not mine:
        raise Refused(
            "handover.unsigned", "the one who takes has not signed the handover", expected=f"a signature by {taker.id}"
        )
    taker.verify(mine[0].sig, envelope.signed_bytes)
    if not handover.issued.instant - TOLERANCE <= now < handover.expires.instant:
        raise Refused(
            "handover.expired", "the handover is not in time", found=f"{handover.issued} to {handover.expires}",
            expected=f"a time around {now:%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip
    return handover
