"""The timestamp authority: a digest in, a signed statement of the time out (RFC 3161, over CMS, RFC 5652)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.sigstore.der import (
    CONTEXT,
    GENERALIZED_TIME,
    INTEGER,
    OCTETS,
    der,
    elements,
    integer,
    oid,
    sequence,
    set_of,
)
from tests.sigstore.keys import NO_USAGE, ServiceKey, authority, builder, certificate_der, sha256

SIGNED_DATA, TST_INFO = oid("1.2.840.113549.1.7.2"), oid("1.2.840.113549.1.9.16.1.4")
CONTENT_TYPE, MESSAGE_DIGEST = oid("1.2.840.113549.1.9.3"), oid("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE = oid("1.2.840.113549.1.9.16.2.47")
SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"))
ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
POLICY = oid("1.3.6.1.4.1.57264.2")


class TimestampAuthority:
    """Stamps whatever it is asked to.

    Attributes:
        root: its root's certificate.
        certificate: of the key that signs timestamps.
    """

    def __init__(self) -> None:
        root_key = ServiceKey()
        self.root = authority("private timestamp root", root_key)
        self.key = ServiceKey()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private timestamps")])
        unsigned = builder(subject, self.root.subject, self.key.private.public_key(), root_key, timedelta(days=30))
        usage = x509.KeyUsage(**{**NO_USAGE, "digital_signature": True})
        stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        unsigned = unsigned.add_extension(usage, critical=True).add_extension(stamping, critical=True)
        self.certificate = unsigned.sign(root_key.private, hashes.SHA256())

    def stamp(self, query: bytes) -> bytes:
        """``POST /api/v1/timestamp``: a granted response."""
        (request,) = elements(query)
        _version, imprint, *optional = elements(request.content)
        nonce = b"".join(element.raw for element in optional if element.tag == INTEGER)
        now = datetime.now(UTC).strftime("%Y%m%d%H%M%SZ").encode()
        serial = integer(secrets.randbits(63))
        info = sequence(integer(1), POLICY, imprint.raw, serial, der(GENERALIZED_TIME, now), nonce)
        content = sequence(TST_INFO, der(CONTEXT, der(OCTETS, info)))
        certificates = der(CONTEXT, certificate_der(self.certificate))
        signed = sequence(integer(3), set_of(SHA256), content, certificates, set_of(self._signer_info(info)))
        return sequence(sequence(integer(0)), sequence(SIGNED_DATA, der(CONTEXT, signed)))

    def _signer_info(self, info: bytes) -> bytes:
        encoded = certificate_der(self.certificate)
        named = sequence(sequence(sequence(der(OCTETS, sha256(encoded)))))
        attributes = set_of(
            sequence(CONTENT_TYPE, set_of(TST_INFO)),
            sequence(MESSAGE_DIGEST, set_of(der(OCTETS, sha256(info)))),
            sequence(SIGNING_CERTIFICATE, set_of(named)),
        )
        issuer = sequence(self.certificate.issuer.public_bytes(), integer(self.certificate.serial_number))
        signature = der(OCTETS, self.key.sign(attributes))
        implicit = bytes([CONTEXT]) + attributes[1:]
        return sequence(integer(1), issuer, SHA256, implicit, ECDSA_SHA256, signature)
