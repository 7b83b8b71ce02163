"""Offers and accepts handovers: a principal's new key, or a plugin's new owner."""

from __future__ import annotations

from datetime import datetime, timedelta

from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.dsse import Envelope
from verifier.formats.handover import Handover, dump_handover
from verifier.formats.text import Name, PluginId, Time
from verifier.judging.handovers import offered
from verifier.signatures.keys import PublicKey
from verifier.signatures.private_keys import MessageSigner, sign_envelope


def offer(
    deployment: Name,
    giver: Name,
    taker: Name,
    plugin: PluginId | None,
    old: MessageSigner,
    new: PublicKey,
    now: datetime,
    lasts: timedelta,
) -> Envelope:
    """A handover, signed by the one who gives.

    Args:
        deployment: the deployment whose policy is to change.
        giver: the principal who gives.
        taker: the principal who takes: the same, for a new key.
        plugin: what passes; None for a new key.
        old: the giver's key.
        new: the taker's key.
        now: the moment (aware, UTC).
        lasts: how long it may be used.

    Raises:
        Refused: ``handover.same-key``.
    """
    if old.public.id == new.id:
        raise Refused("handover.same-key", "the key that takes is the key that gives", found=new.id)
    handover = Handover(
        v=1, deployment=deployment, giver=giver, taker=taker, old=old.public.id, new=new.entry, issued=Time.of(now),
        expires=Time.of(now + lasts), plugin=plugin,
    )  # fmt: skip
    return sign_envelope(dsse.HANDOVER, dump_handover(handover), (old.public.id, old))


def accept(envelope: Envelope, giver: PublicKey, taker: MessageSigner) -> tuple[Envelope, Handover]:
    """The handover with the signature of the one who takes, and what it says.

    Args:
        envelope: the offer.
        giver: the giver's public key, from somebody who knows it.
        taker: the taker's key.

    Raises:
        Refused: as :func:`verifier.judging.handovers.offered`; ``signature.wrong-signer`` when it is offered to another
            key.
    """
    handover = offered(envelope, lambda name: giver if name == giver.id else None)
    taking = PublicKey.from_policy(handover.new).id
    if taking != taker.public.id:
        raise Refused(
            "signature.wrong-signer", "the handover is offered to another key", found=taker.public.id, expected=taking
        )
    payload = envelope.unverified_payload
    added = sign_envelope(envelope.payload_type, payload, (taker.public.id, taker)).signatures
    kept = tuple(signature for signature in envelope.signatures if signature.keyid == giver.id)
    return Envelope(payload_type=envelope.payload_type, unverified_payload=payload, signatures=kept + added), handover
