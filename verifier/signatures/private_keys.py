"""Private keys: how they are made, kept in files and used. Whoever signs imports this; verification does not.

Key files are PKCS#8 in PEM (RFC 5958), encrypted or not, with ECDSA on P-256 or Ed25519, readable by their owner alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Protocol, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from verifier.errors import UsageError
from verifier.files import write_atomic
from verifier.formats.dsse import Envelope, Signature, pae
from verifier.signatures.keys import Algorithm, PublicKey

MAX_KEY_FILE = 16 * 1024
"""Size cap of a key file in bytes."""
KEY_MODE = 0o600
"""The mode of a key file: its owner's alone."""
PUBLIC = b"-----BEGIN PUBLIC KEY-----"
"""How the file of a public key begins (RFC 7468)."""


class MessageSigner(Protocol):
    """Signs messages with a private key, wherever that key is.

    Attributes:
        public: its public half.
    """

    public: PublicKey

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``: ECDSA on P-256 with SHA-256 in DER, or Ed25519."""


class PrivateKey:
    """A private key that never leaves this object but into its own file.

    Attributes:
        public: its public half.
    """

    def __init__(self, private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.public.id})"

    @classmethod
    def generate(cls, algorithm: Algorithm = "ed25519") -> Self:
        """Make a new key."""
        if algorithm == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, path: Path, passphrase: str | None = None, ask: Callable[[], str] | None = None) -> Self:
        """Read a key file.

        Args:
            path: the file.
            passphrase: of an encrypted key.
            ask: gets the passphrase where the key turns out to be encrypted and none was given.

        Raises:
            UsageError: ``usage.key``: unreadable, readable by others, of an unsupported kind, or the passphrase is
                wrong or missing.
        """
        data = read_own(path)
        try:
            private = serialization.load_pem_private_key(data, passphrase.encode() if passphrase else None)
        except TypeError as error:
            if not passphrase and ask is not None:
                return cls.read(path, ask())
            problem = "is not encrypted, but a passphrase was given" if passphrase else "is encrypted"
            todo = f"{'Leave out' if passphrase else 'Give'} the passphrase."
            raise UsageError("usage.key", f"the key {path.name!r} {problem}", todo=todo) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            # The library's own words may say more of the content than belongs into a message.
            raise UsageError(
                "usage.key",
                f"the key {path.name!r} cannot be read",
                found="not a PEM private key, or another passphrase",
                expected="PKCS#8 in PEM",
            ) from error
        p256 = isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1)
        if not p256 and not isinstance(private, ed25519.Ed25519PrivateKey):
            raise UsageError(
                "usage.key",
                f"the key {path.name!r} is of an unsupported kind",
                found=type(private).__name__,
                expected="ECDSA on P-256 or Ed25519",
            )
        return cls(private)  # type: ignore[arg-type]

    def write(self, path: Path, passphrase: str | None = None) -> None:
        """Write the key to a new file for its owner alone.

        Raises:
            UsageError: ``usage.exists``: a key is never overwritten.
            Unreachable: ``io.failed``.
        """
        if os.path.lexists(path):
            raise UsageError("usage.exists", f"{path.name!r} exists already", todo="Choose another name for the key.")
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
        )
        pem = self._private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        write_atomic(path, pem, mode=KEY_MODE)

    def sign(self, message: bytes) -> bytes:
        """Sign ``message``: ECDSA with SHA-256 in DER, or Ed25519."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        return self._private.sign(message, ec.ECDSA(hashes.SHA256()))


def sign_envelope(payload_type: str, payload: bytes, *signers: tuple[str, MessageSigner]) -> Envelope:
    """Sign a payload as a DSSE envelope; each signer is the key id to write and its key."""
    message = pae(payload_type, payload)
    signatures = tuple(Signature(keyid=keyid, sig=key.sign(message)) for keyid, key in signers)
    return Envelope(payload_type=payload_type, unverified_payload=payload, signatures=signatures)


def read_own(path: Path, what: str = "the key") -> bytes:
    """The bytes of a file that holds a secret: a regular one that nobody but its owner can read or change.

    Args:
        path: the file. Where it is a symbolic link, what the link leads to is judged.
        what: what it holds, for errors.

    Raises:
        UsageError: ``usage.key``: unreadable, readable by others, or larger than any key.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            _check_own(f"{what} {path.name!r}", stream)
            data = stream.read(MAX_KEY_FILE + 1)
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        found = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError("usage.key", f"{what} {path.name!r} cannot be read", found=found) from error
    if len(data) > MAX_KEY_FILE:
        raise UsageError("usage.key", f"{what} {path.name!r} is too large", expected=f"at most {MAX_KEY_FILE} bytes")
    return data


def _check_own(named: str, stream: BufferedReader) -> None:
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("usage.key", f"{named} is not a regular file")
    if stream.peek(len(PUBLIC)).startswith(PUBLIC):  # its mode is as it should be: nobody has to replace a key for it
        raise UsageError(
            "usage.key", f"{named} is the public half", expected="the private half, which signs",
            todo="Name the file that lies beside it, without '.pub'.",
        )  # fmt: skip
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            "usage.key",
            f"{named} can be read or changed by others",
            found=f"mode {stat.S_IMODE(status.st_mode):04o}",
            expected=f"mode {KEY_MODE:04o}",
            todo="Restrict it (chmod 600), and replace it if others may have read it.",
        )


def _without_waiting(name: str, flags: int) -> int:
    """Open a file; of a pipe without a writer, at once too."""
    return os.open(name, flags | os.O_NONBLOCK)
