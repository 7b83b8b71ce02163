"""Private keys → signed bundles. A signer never lets its key out; who may sign what is the policy's business."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import serialization

from verifier.errors import UsageError
from verifier.files import write_atomic
from verifier.formats.bundle import Bundle
from verifier.formats.dsse import IN_TOTO
from verifier.formats.statement import MAX_STATEMENT
from verifier.keys import Algorithm, PublicKey
from verifier.private_keys import PrivateKey, sign_envelope

#: The environment variable with the passphrase of an encrypted key file.
PASSPHRASE = "LOADLOCK_KEY_PASSPHRASE"


class Signer(Protocol):
    """Signs statements as one principal."""

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes."""


class KeySigner:
    """Signs with a private key that it holds.

    Attributes:
        public_key: the public half.
    """

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public_key = key.public

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes.

        Raises:
            UsageError: ``format.too-large``: the payload is larger than any statement may be.
        """
        if len(payload) > MAX_STATEMENT:
            raise UsageError(
                "format.too-large", "the statement is too large", expected=f"at most {MAX_STATEMENT} bytes"
            )
        return Bundle(hint=self.public_key.hint, envelope=sign_envelope(IN_TOTO, payload, ("", self._key)))


def load_signer(path: Path, passphrase: str | None = None) -> KeySigner:
    """Read a private key file.

    Args:
        path: the file.
        passphrase: of an encrypted key; by default what ``LOADLOCK_KEY_PASSPHRASE`` holds.

    Raises:
        UsageError: ``usage.key``: unreadable, readable by others, of an unsupported kind, or the passphrase is wrong.
    """
    secret = passphrase if passphrase is not None else os.environ.get(PASSPHRASE)
    try:
        return KeySigner(PrivateKey.read(path, secret))
    except UsageError as error:
        error.todo = error.todo.replace("the passphrase", f"the passphrase ({PASSPHRASE})")
        raise


def new_key(path: Path, algorithm: Algorithm = "ecdsa-p256", passphrase: str | None = None) -> KeySigner:
    """Make a key: the private half at ``path`` for its owner alone, the public half at ``path`` + ``.pub``.

    Raises:
        UsageError: ``usage.exists``: something is there already.
        Unreachable: ``io.failed``.
    """
    public = path.with_name(path.name + ".pub")
    if os.path.lexists(public):
        raise UsageError("usage.exists", f"{public.name!r} exists already", todo="Choose another name for the key.")
    key = PrivateKey.generate(algorithm)
    key.write(path, passphrase)
    write_atomic(public, public_pem(key.public))
    return KeySigner(key)


def public_pem(key: PublicKey) -> bytes:
    """A public key as PEM."""
    loaded = serialization.load_der_public_key(key.spki)
    return loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
