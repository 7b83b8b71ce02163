"""Private keys: how they are made, kept and used, and the demand that offline ones are elsewhere.

A key file is PKCS#8 in PEM (RFC 5958), readable by its owner alone.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from verifier.errors import Refused, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats.dsse import Envelope, Signature, pae
from verifier.formats.policy import Profile
from verifier.keys import Algorithm, PublicKey

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

MAX_KEY = 16 * 1024
"""Size cap of a key file in bytes."""
KEY_MODE = 0o600
DIRECTORY_MODE = 0o700
SHARED = stat.S_IRWXG | stat.S_IRWXO


class SigningKey:
    """A private key, ECDSA on P-256 or Ed25519.

    Attributes:
        public: its public half.
    """

    def __init__(self, private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key())

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id})"

    @classmethod
    def generate(cls, algorithm: Algorithm = "ed25519") -> SigningKey:
        """Make a new key."""
        if algorithm == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Read a key file.

        Raises:
            UsageError: ``usage.key`` when others may read the file, or it holds no such key; ``io.failed`` when it
                cannot be read at all.
        """
        data = read_capped(path, MAX_KEY, "key")
        if path.stat().st_mode & SHARED:
            raise UsageError(
                "usage.key",
                f"others than its owner may use the key {path.name!r}",
                found=f"mode {stat.S_IMODE(path.stat().st_mode):04o}",
                expected=f"mode {KEY_MODE:04o}",
            )
        try:
            private = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise UsageError(
                "usage.key", f"{path.name!r} holds no private key", expected="PKCS#8 in PEM, not encrypted"
            ) from error
        p256 = isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1)
        if not p256 and not isinstance(private, ed25519.Ed25519PrivateKey):
            raise UsageError(
                "usage.key",
                f"{path.name!r} is of an unsupported kind",
                found=type(private).__name__,
                expected="P-256 or Ed25519",
            )
        return cls(private)  # type: ignore[arg-type]

    def write(self, path: Path) -> None:
        """Write the key to a new file in a directory that is its owner's alone.

        Raises:
            Unreachable: ``io.failed``.
            UsageError: ``usage.exists``: a key is never overwritten.
        """
        if path.exists():
            raise UsageError("usage.exists", f"the key {path.name!r} exists already")
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        path.parent.chmod(DIRECTORY_MODE)
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomic(path, pem, mode=KEY_MODE)

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``: ECDSA with SHA-256 in DER, or Ed25519."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        return self._private.sign(message, ec.ECDSA(hashes.SHA256()))

    @property
    def tuf(self) -> CryptoSigner:
        """The key as python-tuf signs with it."""
        from securesystemslib.signer import CryptoSigner

        return CryptoSigner(self._private)


def envelope(payload_type: str, payload: bytes, *signers: tuple[str, SigningKey]) -> Envelope:
    """Sign a payload as a DSSE envelope; each signer is its key id and its key."""
    message = pae(payload_type, payload)
    signatures = tuple(Signature(keyid=keyid, sig=key.sign(message)) for keyid, key in signers)
    return Envelope(payload_type=payload_type, unverified_payload=payload, signatures=signatures)


def check_offline_keys_are_away(directory: Path, profile: Profile) -> None:
    """Demand that this process cannot read a file in the directory of offline keys; the demo profile is excepted.

    Args:
        directory: the deployment's ``offline`` directory; it need not exist.
        profile: the signed policy's profile.

    Raises:
        Refused: ``server.offline-key``.
    """
    if profile == "demo":
        return
    for folder, _, names in os.walk(directory):
        for name in names:
            if _readable(Path(folder, name)):
                raise Refused(
                    "server.offline-key",
                    "the server can read a key that belongs offline",
                    found=str(Path(directory.name, Path(folder, name).relative_to(directory))),
                    expected="no readable file there in the production profile",
                )


def _readable(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True
