"""TUF repositories for tests: whole ones, and whether their chain verifies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer, SSlibKey

from loadlock.testing.repository import TufRepository
from verifier.deployment.chain import Chain
from verifier.deployment.tuf_chain import verify_chain
from verifier.errors import Refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Edit = Callable[[TufRepository], object]
ROLES = ("timestamp.json", "snapshot.json", "targets.json", "checkpoints.json")


def repository() -> TufRepository:
    return TufRepository(NOW, b'{"policy":1}', b'{"checkpoint":1}')


def verify(repo: TufRepository) -> Chain:
    return verify_chain(repo.pinned, *repo.state())


def refusal(repo: TufRepository) -> Refused:
    with pytest.raises(Refused) as caught:
        verify(repo)
    return caught.value


def rotated() -> TufRepository:
    repo = repository()
    for _ in range(3):
        repo.rotate_root_key(NOW)
    return repo


class Alias(Signer):
    """A signer whose key stands under another key id, perhaps in another spelling."""

    def __init__(self, signer: CryptoSigner, spell: Callable[[str], str] = str) -> None:
        self.signer = signer
        key = signer.public_key
        self.key = SSlibKey("alias", key.keytype, key.scheme, {"public": spell(key.keyval["public"])})

    @property
    def public_key(self) -> Key:
        return self.key

    def sign(self, payload: bytes) -> Signature:
        return Signature("alias", self.signer.sign(payload).signature)

    @classmethod
    def from_priv_key_uri(cls, *_: object, **__: object) -> Alias:
        raise NotImplementedError
