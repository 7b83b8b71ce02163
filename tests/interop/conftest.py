"""What these tests share: the example plugin with everything that is said of it, by keys of both algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from attestor.pipeline import Attestation
from attestor.signing.certify import Terms, certify
from attestor.signing.endorse import endorse
from tests.attestor.conftest import NOW, Signers, attested, build_wheels, house, signers
from verifier.signatures.keys import PublicKey

__all__ = ["attested", "build_wheels", "house", "signers"]


@dataclass(frozen=True)
class Released:
    """A wheel, its whole set, and the keys that signed it."""

    file_name: str
    wheel: bytes
    attestations: bytes
    keys: tuple[PublicKey, ...]


@pytest.fixture(scope="session")
def released(attested: Attestation, signers: Signers) -> Released:
    """The example plugin: builder and certifier sign with P-256, the owner with Ed25519."""
    builder, owner = signers.builder.public_key, signers.owner.public_key
    endorsed = endorse(
        attested.wheel, attested.file_name, attested.attestations, attested.unsigned, signers.owner, [builder], now=NOW
    )
    done = certify(
        attested.wheel, attested.file_name, endorsed.attestations, signers.certifier,
        {"builder": [builder], "owner": [owner]}, Terms("core", NOW + timedelta(days=90)), now=NOW,
    )  # fmt: skip
    keys = (builder, owner, signers.certifier.public_key)
    return Released(attested.file_name, attested.wheel, done.attestations, keys)
