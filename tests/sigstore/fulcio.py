"""The certificate authority: a valid token in, a short-lived certificate with its claims out, logged (RFC 6962)."""

from __future__ import annotations

import base64
import struct
import time
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.sigstore.der import OCTETS, UTF8, der
from tests.sigstore.keys import NO_USAGE, ServiceKey, authority, builder, sha256
from tests.sigstore.oidc import Issuer

LIFE = timedelta(minutes=10)
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ARC = "1.3.6.1.4.1.57264.1"
SITE = "https://github.com/"
CLAIMS = {
    "job_workflow_ref": (9, SITE),
    "job_workflow_sha": (10, ""),
    "runner_environment": (11, ""),
    "repository": (12, SITE),
    "sha": (13, ""),
    "ref": (14, ""),
    "repository_id": (15, ""),
    "repository_owner": (16, SITE),
    "repository_owner_id": (17, ""),
    "event_name": (20, ""),
}
"""A claim, the arc of its extension (fulcio, docs/oid-info.md), and what is put before its value."""


class Fulcio:
    """Issues certificates to whoever has a token of ``issuer``.

    Attributes:
        key, certificate: of the authority itself.
        log_key: of the certificate transparency log.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.key, self.log_key = ServiceKey(), ServiceKey()
        self.certificate = authority("private fulcio", self.key)

    def signing_cert(self, request: dict[str, Any], authorization: str) -> dict[str, Any]:
        """``POST /api/v2/signingCert``."""
        claims = self.issuer.check(authorization.removeprefix("Bearer "))
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        if not csr.is_signature_valid:
            raise ValueError("the request is not signed by the key that it names")
        chain = (self.issue(csr, claims), self.certificate)
        pems = [certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in chain]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}

    def issue(self, csr: x509.CertificateSigningRequest, claims: dict[str, Any]) -> x509.Certificate:
        """A certificate for the key of ``csr``, logged."""
        key = csr.public_key()
        unsigned = builder(x509.Name([]), self.certificate.subject, key, self.key, LIFE)  # type: ignore[arg-type]
        usage = x509.KeyUsage(**{**NO_USAGE, "digital_signature": True})
        unsigned = unsigned.add_extension(usage, critical=True)
        code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        unsigned = unsigned.add_extension(code, critical=False)
        unsigned = unsigned.add_extension(x509.SubjectAlternativeName([_subject(claims)]), critical=True)
        for arc, value in _stated(claims).items():
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{ARC}.{arc}"), value)
            unsigned = unsigned.add_extension(extension, critical=False)
        precertificate = unsigned.sign(self.key.private, hashes.SHA256()).tbs_certificate_bytes
        logged = x509.UnrecognizedExtension(SCT_LIST, self._scts(precertificate))
        return unsigned.add_extension(logged, critical=False).sign(self.key.private, hashes.SHA256())

    def _scts(self, precertificate: bytes) -> bytes:
        """The list with one signed certificate timestamp (RFC 6962, sections 3.2 and 3.3)."""
        milliseconds = int(time.time() * 1000)
        entry = sha256(self.key.spki) + len(precertificate).to_bytes(3, "big") + precertificate
        signature = self.log_key.sign(struct.pack("!BBQH", 0, 0, milliseconds, 1) + entry + b"\0\0")
        sct = struct.pack("!B32sQHBBH", 0, self.log_key.id, milliseconds, 0, 4, 3, len(signature)) + signature
        return der(OCTETS, struct.pack("!HH", len(sct) + 2, len(sct)) + sct)


def _subject(claims: dict[str, Any]) -> x509.GeneralName:
    if "email" in claims:
        return x509.RFC822Name(claims["email"])
    if "job_workflow_ref" in claims:
        return x509.UniformResourceIdentifier(SITE + claims["job_workflow_ref"])
    return x509.UniformResourceIdentifier(claims["sub"])


def _stated(claims: dict[str, Any]) -> dict[int, bytes]:
    """The arc of each extension, and its content: the issuer as plain bytes too, as of old."""
    stated = {1: claims["iss"].encode(), 8: der(UTF8, claims["iss"].encode())}
    for claim, (arc, prefix) in CLAIMS.items():
        if claim in claims:
            stated[arc] = der(UTF8, f"{prefix}{claims[claim]}".encode())
    return stated
