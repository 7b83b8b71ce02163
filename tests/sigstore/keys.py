"""Keys and certificates of the services: ECDSA on P-256 throughout."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

STARTED = timedelta(hours=1)
"""How long before its making a service says it began."""
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
NO_USAGE = dict.fromkeys(_USAGES, False)


def b64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    """The raw sha256."""
    return hashlib.sha256(data).digest()


class ServiceKey:
    """A service's private key.

    Attributes:
        spki: the public half in DER.
        id: the sha256 of ``spki``, by which logs are named.
    """

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.spki = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.id = sha256(self.spki)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, in DER."""
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ServiceKey, life: timedelta
) -> x509.CertificateBuilder:
    """A certificate that is still to get its extensions, valid from a little before now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - (STARTED if life > STARTED else timedelta(seconds=5)))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.private.public_key()), critical=False)
    )


def authority(name: str, key: ServiceKey) -> x509.Certificate:
    """A self-signed certificate of an authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    unsigned = builder(subject, subject, key.private.public_key(), key, timedelta(days=30))
    usage = x509.KeyUsage(**{**NO_USAGE, "key_cert_sign": True, "crl_sign": True})
    unsigned = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return unsigned.add_extension(usage, critical=True).sign(key.private, hashes.SHA256())


def certificate_der(certificate: x509.Certificate) -> bytes:
    """A certificate in DER."""
    return certificate.public_bytes(serialization.Encoding.DER)
