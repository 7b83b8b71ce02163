"""Who signs."""

from __future__ import annotations

from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from verifier.signatures.keys import PublicKey


class Person:
    """Somebody with a name and a key: P-256 or Ed25519."""

    def __init__(self, name: str, alg: Literal["ecdsa-p256", "ed25519"] = "ecdsa-p256") -> None:
        self.name = name
        self._key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        self._key = (
            ec.generate_private_key(ec.SECP256R1()) if alg == "ecdsa-p256" else ed25519.Ed25519PrivateKey.generate()
        )
        self.public = PublicKey(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """A signature over ``message``, as :meth:`verifier.signatures.keys.PublicKey.verify` wants it."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))
