"""Public keys: which algorithms exist, how a key is named, and the one place where signatures are verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from verifier.errors import Refused
from verifier.formats.bundle import Bundle
from verifier.formats.dsse import Envelope, decode_base64, encode_base64
from verifier.formats.policy import Key
from verifier.formats.text import Digest
from verifier.signatures.signatory import Made, Opened, check_payload_type

Algorithm = Literal["ecdsa-p256", "ed25519"]
_ECDSA_SHA256: Final = ec.ECDSA(hashes.SHA256())


class PublicKey:
    """A public key whose algorithm follows from the key itself and is never negotiated.

    Attributes:
        id: ``sha256:`` of the SubjectPublicKeyInfo in DER.
        hint: base64 of the same sha256, as bundles carry it.
        alg: ``ecdsa-p256`` (SHA-256, FIPS 186-5) or ``ed25519`` (RFC 8032).
        spki: the SubjectPublicKeyInfo in DER (RFC 5280 section 4.1).
    """

    def __init__(self, key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> None:
        self.alg: Algorithm
        self._verify: Callable[[bytes, bytes], None]
        if isinstance(key, ed25519.Ed25519PublicKey):
            self.alg, self._verify = "ed25519", key.verify
        else:
            self.alg, self._verify = "ecdsa-p256", partial(key.verify, signature_algorithm=_ECDSA_SHA256)
        self.spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.sha256(self.spki)
        self.id = Digest(f"sha256:{digest.hexdigest()}")
        self.hint = encode_base64(digest.digest())

    @classmethod
    def from_spki(cls, der: bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo in DER.

        Raises:
            Refused: ``usage.key`` for anything but ECDSA on P-256 or Ed25519, or a second spelling of the same key.
        """
        try:
            key = serialization.load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Refused("usage.key", "a public key cannot be read", found=str(error)) from None
        return cls._supported(key, der)

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read a PEM ``PUBLIC KEY``; raises as :meth:`from_spki`."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Refused("usage.key", "a public key cannot be read", found=str(error)) from None
        return cls._supported(key, None)

    @classmethod
    @lru_cache(maxsize=1024)
    def from_policy(cls, key: Key) -> PublicKey:
        """The key of a policy; its algorithm has to be the pinned one.

        Raises:
            Refused: ``trust.policy`` when the key is of another algorithm, ``usage.key`` as :meth:`from_spki`.
        """
        public = cls.from_spki(decode_base64(key.spki, "policy key"))
        if public.alg != key.alg:
            raise Refused("trust.policy", "a key is not of its pinned algorithm", found=public.alg, expected=key.alg)
        return public

    @classmethod
    def _supported(cls, key: object, der: bytes | None) -> PublicKey:
        p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        if not p256 and not isinstance(key, ed25519.Ed25519PublicKey):
            raise Refused(
                "usage.key", "unsupported kind of public key", found=type(key).__name__, expected="P-256 or Ed25519"
            )
        public = cls(key)  # type: ignore[arg-type]
        if der is not None and public.spki != der:
            raise Refused("usage.key", "a public key is not in canonical DER")
        return public

    @property
    def entry(self) -> Key:
        """The key as a policy's ``keys`` table holds it."""
        return Key(alg=self.alg, spki=encode_base64(self.spki))

    def verify(self, signature: bytes, message: bytes) -> None:
        """Verify a signature over ``message``; returns only when it is right.

        Raises:
            Refused: ``signature.invalid``.
        """
        try:
            self._verify(signature, message)
        except InvalidSignature:
            raise Refused(
                "signature.invalid", "a signature does not verify", expected=f"a signature by {self.id}"
            ) from None

    def selected_by(self, bundle: Bundle) -> bool:
        """Whether the bundle's hint is this key's."""
        return bundle.hint == self.hint

    def open(self, bundle: Bundle) -> Opened:
        """The payload of a bundle, once its signature by this key has been verified; no time: nobody vouches for one.

        Raises:
            Refused: ``signature.payload-type`` or ``signature.invalid``.
        """
        envelope = bundle.envelope
        check_payload_type(envelope)
        if bundle.hint is None:  # a certificate's signature is not judged as a key's, whatever the key
            raise Refused("signature.invalid", "a keyless signature is none by a key", expected=f"a hint at {self.id}")
        self.verify(envelope.signatures[0].sig, envelope.signed_bytes)
        return Opened(envelope.unverified_payload, Made(self.id))


def signers(envelope: Envelope, keys: Iterable[PublicKey]) -> list[PublicKey]:
    """Those of the keys that have signed an envelope; each is tried, for a key id in the envelope proves nothing."""
    return [key for key in keys if _has_signed(key, envelope)]


def _has_signed(key: PublicKey, envelope: Envelope) -> bool:
    for signature in envelope.signatures:
        try:
            key.verify(signature.sig, envelope.signed_bytes)
        except Refused:  # by another key, or by none: it does not count
            continue
        return True
    return False
