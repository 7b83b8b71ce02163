"""Keyless signers: what a certificate states, and whose identity of the policy it is.

A certificate only selects among the identities that the policy names. Whether it may be believed is judged in
:mod:`verifier.signatures.keyless`, which is imported when such a signature is met and not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from verifier.errors import FormatError, Refused
from verifier.formats.identity import MAX_IDENTITY, Claims, IdentityFile, PersonIdentity, Stated
from verifier.formats.policy import Policy
from verifier.formats.strict_json import convert
from verifier.formats.text import Name
from verifier.signatures.signatory import Opened, check_payload_type

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, ObjectIdentifier

    from verifier.formats.bundle import Bundle

ARC = "1.3.6.1.4.1.57264.1"
"""Below which Fulcio's extensions are registered (fulcio, docs/oid-info.md)."""
ISSUER, RUNNER, REF, REPOSITORY_ID, TRIGGER = (f"{ARC}.{number}" for number in (8, 11, 14, 15, 20))
SAN = "2.5.29.17"
"""Subject alternative names (RFC 5280, section 4.2.1.6)."""
UTF8 = 0x0C

LIBRARIES = ("sigstore", "sigstore_models", "rekor_types", "rfc3161_client", "rfc8785", "pydantic", "pydantic_core")
"""By which keyless signatures are judged, besides what the verifier always rests on."""


class KeylessSignatory:
    """An identity, and the trusted root that vouches for it.

    Args:
        identity: who may have signed.
        root: the trusted root's JSON, verified as a target of the deployment.
        timestamp: whether a timestamp authority's word is demanded; else the log's own time does as well.
    """

    def __init__(self, identity: Stated, root: bytes, *, timestamp: bool = False) -> None:
        self.identity = identity
        self.root = root
        self.timestamp = timestamp

    @property
    def id(self) -> str:
        """Who this is, in words."""
        return self.identity.id

    def selected_by(self, bundle: Bundle) -> bool:
        """Whether the bundle's certificate states this identity; it has not been verified.

        Raises:
            Refused: ``signature.certificate`` when it cannot be read.
        """
        return bundle.material is not None and not differences(self.identity, bundle.material.certificate_der)

    def open(self, bundle: Bundle) -> Opened:
        """The payload of a bundle, once its signature by this identity has been verified against the trusted root.

        Raises:
            Refused: ``signature.payload-type``, ``.identity``, ``.certificate``, ``.log``, ``.time``, ``.invalid``;
                ``usage.extra`` when the part of Loadlock that can verify it is not installed.
        """
        check_payload_type(bundle.envelope)
        from verifier.signatures.keyless import verify

        return verify(bundle, self.identity, self.root, timestamp=self.timestamp)


def identities_of(policy: Policy, roots: Mapping[Name, bytes]) -> tuple[tuple[Name, KeylessSignatory], ...]:
    """The keyless principals of a policy.

    Args:
        policy: the verified policy.
        roots: the bytes of each trusted root that it names; verified with it.
    """
    found = []
    for name, principal in policy.principals.items():
        if principal.identity is not None and principal.root is not None:
            demanded = policy.trusted_roots[principal.root].timestamp
            found.append((name, KeylessSignatory(principal.identity, roots[principal.root], timestamp=demanded)))
    return tuple(found)


def nearest(claims: Claims, known: Iterable[tuple[Name, KeylessSignatory]]) -> str:
    """Why nobody is meant by a certificate, in words: what tells it from the identity that it comes closest to."""
    compared = sorted(
        ((signatory.identity.differences(claims), name) for name, signatory in known if _alike(signatory, claims)),
        key=lambda entry: len(entry[0]),
    )
    stated = f"a statement by {claims.subject[:300]!a}"
    if not compared:
        return f"{stated}; the policy names no keyless signer of that kind"
    differences, name = compared[0]
    return f"{stated}, who is not {name!r}: {'; '.join(differences)}"


def _alike(signatory: KeylessSignatory, claims: Claims) -> bool:
    return isinstance(signatory.identity, PersonIdentity) == (claims.subject_kind == "email")


@lru_cache(maxsize=64)
def load_certificate(certificate: bytes) -> Certificate:
    """A signing certificate (X.509 in DER), of which nothing has been verified.

    Raises:
        Refused: ``signature.certificate``.
    """
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(certificate)
    except Exception as error:
        raise _unreadable(error) from error


@lru_cache(maxsize=64)
def read_claims(certificate: bytes) -> Claims:
    """What a certificate (X.509 in DER) states; nothing of it has been verified.

    Raises:
        Refused: ``signature.certificate``.
    """
    loaded = load_certificate(certificate)
    try:
        return _claims(loaded)
    except Exception as error:
        raise _unreadable(error) from error


@lru_cache(maxsize=256)
def differences(identity: Stated, certificate: bytes) -> tuple[str, ...]:
    """In what a certificate (X.509 in DER) is for somebody else than an identity, in words; empty when it is not.

    It follows from both alone, and is asked twice: to choose a signer, and again once the certificate is verified.

    Raises:
        Refused: ``signature.certificate``.
    """
    return identity.differences(read_claims(certificate))


def _unreadable(error: Exception) -> Refused:
    return Refused(
        "signature.certificate", "a signing certificate cannot be read",
        found=f"{type(error).__name__}: {str(error)[:200]!a}",
    )  # fmt: skip


def _claims(certificate: Certificate) -> Claims:
    from cryptography.x509 import RFC822Name, SubjectAlternativeName, UniformResourceIdentifier, UnrecognizedExtension

    stated = {extension.oid: extension.value for extension in certificate.extensions}

    def text(dotted: str) -> str:
        """The text of one of Fulcio's extensions, which is nothing but a DER UTF8String; empty when there is none."""
        value = stated.get(_oid(dotted))
        if value is None:
            return ""
        if not isinstance(value, UnrecognizedExtension):
            raise TypeError(f"an extension of Fulcio's is of another kind: {dotted}")
        return _utf8(value.value)

    alternatives = stated[_oid(SAN)]
    if not isinstance(alternatives, SubjectAlternativeName):
        raise TypeError("the subject alternative names are of another kind")
    names = list(alternatives)
    if len(names) != 1:
        raise ValueError(f"{len(names)} subject alternative names, and one is needed")
    (name,) = names
    emailed = isinstance(name, RFC822Name)
    known = emailed or isinstance(name, UniformResourceIdentifier)
    return Claims(
        subject=str(name.value) if known else "",
        subject_kind="email" if emailed else "uri",
        issuer=text(ISSUER),
        repository_id=text(REPOSITORY_ID),
        ref=text(REF),
        trigger=text(TRIGGER),
        runner=text(RUNNER),
    )


@cache
def _oid(dotted: str) -> ObjectIdentifier:
    from cryptography.x509 import ObjectIdentifier

    return ObjectIdentifier(dotted)


def _utf8(encoded: bytes) -> str:
    """Read a DER UTF8String (X.690, sections 8.1.3 and 8.23)."""
    if len(encoded) < 2 or encoded[0] != UTF8:
        raise ValueError("not a UTF8String")
    start, size = 2, encoded[1]
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(encoded[2:start], "big")
        if size < 0x80 or encoded[2] == 0:
            raise ValueError("a length that is longer than it needs to be")
    if len(encoded) != start + size:
        raise ValueError("a length that is not that of the text")
    return encoded[start:].decode("utf-8")


def parse_identity(data: bytes) -> IdentityFile:
    """Read a file that names one identity: TOML, with the fields that a policy has.

    Raises:
        FormatError: any ``format.*`` code.
    """
    import tomllib  # which who reads no such file need not wait for

    if len(data) > MAX_IDENTITY:
        raise FormatError("format.too-large", "the identity is too large", expected=f"at most {MAX_IDENTITY} bytes")
    try:
        value = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise FormatError("format.encoding", "the identity is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("format.syntax", "the identity is not TOML", found=str(error)[:200]) from None
    return convert(value, IdentityFile, what="identity")
