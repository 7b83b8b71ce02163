"""Private keys → signed bundles. A signer never lets its key out; who may sign what is the policy's business."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import serialization

from verifier.addresses import split
from verifier.errors import Refused, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats.bundle import Bundle
from verifier.formats.dsse import IN_TOTO
from verifier.formats.statement import MAX_STATEMENT
from verifier.signatures.key_secrets import PASSPHRASE, asked, given
from verifier.signatures.keys import Algorithm, PublicKey
from verifier.signatures.private_keys import MessageSigner, PrivateKey, sign_envelope
from verifier.signatures.signatory import Signatory
from verifier.signatures.signing_services import DEADLINE, ServiceKey, check_uri, is_uri

#: The environment variable with the seconds that one signature of a service may take.
SECONDS = "LOADLOCK_KEY_DEADLINE"
MAX_SECONDS = 3_600
MAX_PUBLIC_KEY = 16_384


class Signer(Protocol):
    """Signs statements as one principal."""

    @property
    def signatory(self) -> Signatory:
        """Who signs, as whoever verifies sees it."""

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes."""


class KeySigner:
    """Signs with a private key: in a file, a token or a service.

    Attributes:
        public_key: the public half.
    """

    def __init__(self, key: MessageSigner) -> None:
        self._key = key
        self.public_key = key.public

    @property
    def signatory(self) -> Signatory:
        """The public key."""
        return self.public_key

    @property
    def message_signer(self) -> MessageSigner:
        """What signs other documents than statements with the same key."""
        return self._key

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes.

        Raises:
            UsageError: ``format.too-large``: the payload is larger than any statement may be.
            LoadlockError: what the key raises.
        """
        if len(payload) > MAX_STATEMENT:
            raise UsageError(
                "format.too-large", "the statement is too large", expected=f"at most {MAX_STATEMENT} bytes"
            )
        return Bundle(hint=self.public_key.hint, envelope=sign_envelope(IN_TOTO, payload, ("", self._key)))


def open_signer(named: str, public: Path | None = None) -> KeySigner:
    """The signer with a key file, or with a key that one of securesystemslib's URIs names.

    Args:
        named: a path or a URI; ``file2:PATH`` is the key file at that path.
        public: the public key, PEM: needed for a key that lies in a token or service; that of a file has to be it.

    Raises:
        UsageError: ``usage.key``; whatever :class:`verifier.signatures.signing_services.ServiceKey` raises.
        Refused: ``usage.key``: the public key is of an unsupported kind, or another one than the file's.
    """
    expected = PublicKey.from_pem(read_capped(public, MAX_PUBLIC_KEY, "the public key")) if public else None
    if not is_uri(named) or Path(named).exists():
        return _same(load_signer(Path(named)), expected)
    if named.startswith("file2:"):
        # The library reads such files too, but also ones that others can read.
        prefix = os.environ.get("CRYPTO_SIGNER_PATH_PREFIX", "")
        return _same(load_signer(Path(prefix, split(named).path)), expected)
    if expected is None:
        # The URI is judged first: what is wrong with it matters more.
        check_uri(named)
        raise UsageError(
            "usage.key", "the public key of a key that lies elsewhere has to be named", expected="--public-key FILE",
            todo="Fetch it once with 'loadlock key fetch', and compare its id with what the service's owner says.",
        )  # fmt: skip
    return KeySigner(ServiceKey(named, expected, service_deadline()))


class _Unsigning:
    """A key of which the public half alone is there."""

    def __init__(self, public: PublicKey) -> None:
        self.public = public

    def sign(self, message: bytes) -> bytes:
        """Refuse; raises ``usage.key``."""
        raise UsageError("usage.key", "a dry run signs nothing", found=f"{len(message)} bytes to sign")


def without_signing(named: str, public: Path | None = None) -> KeySigner:
    """As :func:`open_signer`, for what signs nothing: a public key that is named is enough, and no PIN is asked for."""
    if public is None:
        return KeySigner(_Unsigning(open_signer(named).public_key))
    if is_uri(named) and not named.startswith("file2:"):
        check_uri(named)
    return KeySigner(_Unsigning(PublicKey.from_pem(read_capped(public, MAX_PUBLIC_KEY, "the public key"))))


def service_deadline() -> timedelta:
    """How long one answer of a signing service may take: ``$LOADLOCK_KEY_DEADLINE`` in seconds, else a minute.

    Raises:
        UsageError: ``usage.configuration``.
    """
    text = os.environ.get(SECONDS)
    if not text:
        return DEADLINE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_SECONDS):
        raise UsageError(
            "usage.configuration", f"{SECONDS} is not usable", found=ascii(text[:40]),
            expected=f"whole seconds, 1 to {MAX_SECONDS}",
        )  # fmt: skip
    return timedelta(seconds=int(text))


def _same(signer: KeySigner, expected: PublicKey | None) -> KeySigner:
    if expected is not None and expected.id != signer.public_key.id:
        raise Refused(
            "usage.key", "the key is not the private half of the public key named",
            found=signer.public_key.id, expected=expected.id,
        )  # fmt: skip
    return signer


def load_signer(path: Path, passphrase: str | None = None) -> KeySigner:
    """Read a private key file.

    Args:
        path: the file.
        passphrase: of an encrypted key; by default what ``LOADLOCK_KEY_PASSPHRASE`` holds or a person answers.

    Raises:
        UsageError: ``usage.key``: unreadable, readable by others, of an unsupported kind, or the passphrase is wrong.
    """
    secret = passphrase if passphrase is not None else given(PASSPHRASE)
    question = f"the passphrase of the key {path.name!r}"
    return KeySigner(PrivateKey.read(path, secret, lambda: asked(PASSPHRASE, question)))


def new_key(path: Path, algorithm: Algorithm = "ecdsa-p256", passphrase: str | None = None) -> KeySigner:
    """Make a key: the private half at ``path`` for its owner alone, the public half at ``path`` + ``.pub``.

    Raises:
        UsageError: ``usage.exists``: something is there already.
        Unreachable: ``io.failed``.
    """
    public = path.with_name(path.name + ".pub")
    _check_free(public)
    key = PrivateKey.generate(algorithm)
    key.write(path, passphrase)
    keep_public_key(key.public, public)
    return KeySigner(key)


def keep_public_key(key: PublicKey, path: Path) -> None:
    """Write a public key as PEM, over nothing.

    Raises:
        UsageError: ``usage.exists``: something is there already.
        Unreachable: ``io.failed``.
    """
    _check_free(path)
    write_atomic(path, public_pem(key))


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError("usage.exists", f"{path.name!r} exists already", todo="Choose another name for the key.")


def public_pem(key: PublicKey) -> bytes:
    """A public key as PEM."""
    loaded = serialization.load_der_public_key(key.spki)
    return loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
