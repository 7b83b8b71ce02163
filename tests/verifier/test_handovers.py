"""A handover counts from its beginning to its end, and not for anybody who can only read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from attestor.signing.handover import accept, offer
from verifier.errors import Refused
from verifier.formats.dsse import Signature
from verifier.formats.text import Name, PluginId
from verifier.judging.handovers import agreed
from verifier.signatures.keys import PublicKey
from verifier.signatures.private_keys import PrivateKey

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, NEW = PrivateKey.generate(), PrivateKey.generate("ecdsa-p256")


def known(name: str) -> PublicKey | None:
    return OLD.public if name == OLD.public.id else None


def code_at(moment: datetime) -> str:
    made = offer(Name("acme"), Name("a"), Name("b"), PluginId("p"), OLD, NEW.public, NOW, DAY)
    both, _ = accept(made, OLD.public, NEW)
    try:
        assert agreed(both, known, moment).taker == "b"
    except Refused as error:
        return error.code
    return "agreed"


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (NOW - timedelta(minutes=5, seconds=1), "handover.expired"),
        (NOW - timedelta(minutes=5), "agreed"),
        (NOW + DAY - timedelta(seconds=1), "agreed"),
        (NOW + DAY, "handover.expired"),
    ],
)
def test_in_time_and_not_after(moment: datetime, code: str) -> None:
    assert code_at(moment) == code


def test_the_taker_alone_is_nobody() -> None:
    made = offer(Name("acme"), Name("a"), Name("b"), PluginId("p"), NEW, OLD.public, NOW, DAY)
    both, _ = accept(made, NEW.public, OLD)  # offered by a key that nobody knows, taken by one that is known
    with pytest.raises(Refused) as caught:
        agreed(both, known, NOW)
    assert caught.value.code == "signature.unknown-signer"


def test_without_the_takers_own_signature_nobody_takes() -> None:
    made = offer(Name("acme"), Name("a"), Name("b"), PluginId("p"), OLD, NEW.public, NOW, DAY)
    given = made.signatures[0]
    by_another = Signature(keyid=NEW.public.id, sig=PrivateKey.generate("ecdsa-p256").sign(made.signed_bytes))
    for signatures, code in (
        ((given,), "handover.unsigned"),
        ((given, structs.replace(given, keyid=NEW.public.id)), "signature.invalid"),
        ((given, by_another), "signature.invalid"),
        ((structs.replace(by_another, keyid=OLD.public.id),), "signature.invalid"),
    ):
        with pytest.raises(Refused) as caught:
            agreed(structs.replace(made, signatures=signatures), known, NOW)
        assert caught.value.code == code
