"""Private keys → signed bundles. A signer never lets its key out; who may sign what is the policy's business.

Key files are PKCS#8 in PEM, encrypted or not, with ECDSA on P-256 or Ed25519, readable by their owner alone.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from verifier.errors import UsageError
from verifier.files import write_atomic
from verifier.formats.bundle import Bundle
from verifier.formats.dsse import IN_TOTO, Envelope, Signature, pae
from verifier.formats.statement import MAX_STATEMENT
from verifier.keys import Algorithm, PublicKey

#: The environment variable with the passphrase of an encrypted key file.
PASSPHRASE = "LOADLOCK_KEY_PASSPHRASE"
MAX_KEY_FILE = 16_384


class Signer(Protocol):
    """Signs statements as one principal."""

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes."""


class KeySigner:
    """Signs with a private key that it holds.

    Attributes:
        public_key: the public half.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = PublicKey(key.public_key())

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes."""
        return Bundle(hint=self.public_key.hint, envelope=self.envelope(IN_TOTO, payload))

    def envelope(self, payload_type: str, payload: bytes) -> Envelope:
        """A DSSE envelope with one signature.

        Raises:
            UsageError: ``format.too-large``: the payload is larger than any statement may be.
        """
        if len(payload) > MAX_STATEMENT:
            raise UsageError(
                "format.too-large", "the statement is too large", expected=f"at most {MAX_STATEMENT} bytes"
            )
        signature = self._raw(pae(payload_type, payload))
        return Envelope(
            payload_type=payload_type, unverified_payload=payload, signatures=(Signature(keyid="", sig=signature),)
        )

    def _raw(self, message: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def load_signer(path: Path, passphrase: str | None = None) -> KeySigner:
    """Read a private key file.

    Args:
        path: the file.
        passphrase: of an encrypted key; by default what ``LOADLOCK_KEY_PASSPHRASE`` holds.

    Raises:
        UsageError: ``usage.key``: unreadable, readable by others, of an unsupported kind, or the passphrase is wrong.
    """
    data = _read_private(path)
    secret = passphrase if passphrase is not None else os.environ.get(PASSPHRASE)
    try:
        key = serialization.load_pem_private_key(data, secret.encode() if secret else None)
    except TypeError as error:
        encrypted = secret is None or secret == ""
        raise UsageError(
            "usage.key",
            f"the key {path.name!r} {'is encrypted' if encrypted else 'is not encrypted, but a passphrase was given'}",
            todo=f"{'Set' if encrypted else 'Unset'} {PASSPHRASE}.",
        ) from error
    except ValueError as error:
        # The library's own words may say more of the content than belongs into a message.
        raise UsageError(
            "usage.key",
            f"the key {path.name!r} cannot be read",
            found="not a PEM private key, or another passphrase",
            expected="PKCS#8 in PEM",
        ) from error
    p256 = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    if not p256 and not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageError(
            "usage.key",
            f"the key {path.name!r} is of an unsupported kind",
            found=type(key).__name__,
            expected="ECDSA on P-256 or Ed25519",
        )
    return KeySigner(key)  # type: ignore[arg-type]


def new_key(path: Path, algorithm: Algorithm = "ecdsa-p256", passphrase: str | None = None) -> KeySigner:
    """Make a key: the private half at ``path`` for its owner alone, the public half at ``path`` + ``.pub``.

    Raises:
        UsageError: ``usage.exists``: something is there already.
        LoadlockError: ``io.failed``.
    """
    public = path.with_name(path.name + ".pub")
    for place in (path, public):
        if os.path.lexists(place):
            raise UsageError("usage.exists", f"{place.name!r} exists already", todo="Choose another name for the key.")
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_atomic(path, pem, mode=0o600)
    write_atomic(public, public_pem(KeySigner(key).public_key))
    return KeySigner(key)


def public_pem(key: PublicKey) -> bytes:
    """A public key as PEM."""
    loaded = serialization.load_der_public_key(key.spki)
    return loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_private(path: Path) -> bytes:
    """The file's bytes, when it is a regular file that nobody but its owner can read."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            _check_private(path, os.fstat(stream.fileno()))
            data = stream.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise UsageError("usage.key", f"the key {path.name!r} cannot be read", found=error.strerror or "") from error
    if len(data) > MAX_KEY_FILE:
        raise UsageError("usage.key", f"the key {path.name!r} is too large", expected=f"≤ {MAX_KEY_FILE} bytes")
    return data


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("usage.key", f"the key {path.name!r} is not a regular file")
    if status.st_mode & 0o077:
        raise UsageError(
            "usage.key",
            f"the key {path.name!r} can be read or changed by others",
            found=f"mode {stat.S_IMODE(status.st_mode):04o}",
            expected="mode 0600",
            todo="Restrict it (chmod 600), and replace the key if others may have read it.",
        )


def _without_waiting(name: str, flags: int) -> int:
    """Open a file; of a pipe without a writer, at once too."""
    return os.open(name, flags | os.O_NONBLOCK)
