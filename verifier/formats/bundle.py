"""Attestation sets: Sigstore bundles (v0.3, JSON), one a line.

In key mode a bundle's verification material is a hint at the public key: base64 of sha256 of its SubjectPublicKeyInfo
in DER, the convention of cosign. A keyless bundle's is a certificate, a log entry and timestamps. Hint and certificate
only select among the principals that the policy allows; which of both modes a principal signs in, the policy says.
"""

from __future__ import annotations

from typing import Any, Literal

from verifier.errors import FormatError
from verifier.formats import dsse
from verifier.formats.material import Material, check_base64
from verifier.formats.strict_json import Document, convert, dumps, loads, read_common

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_STATEMENTS = 64
"""How many statements a set may hold."""
MAX_HINT = 200
"""How many characters a hint may have."""


class Bundle(Document, frozen=True, kw_only=True):
    """One signed statement: the envelope, and either the hint at its signer's key or the keyless material."""

    envelope: dsse.Envelope
    hint: str | None = None
    material: Material | None = None

    def __post_init__(self) -> None:
        if (self.hint is None) == (self.material is None):
            raise ValueError("a bundle has either a hint or keyless material")


class _PublicKey(Document, frozen=True, kw_only=True):
    hint: str


class _Material(Document, frozen=True, kw_only=True):
    publicKey: _PublicKey  # noqa: N815 - the names are Sigstore's
    tlogEntries: tuple[()]  # noqa: N815


class _Key(Document, frozen=True, kw_only=True):
    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: _Material  # noqa: N815


class _Keyless(Document, frozen=True, kw_only=True):
    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: Material  # noqa: N815


class _CommonKey(_Key, frozen=True, kw_only=True):
    dsseEnvelope: dsse.Envelope  # noqa: N815


class _CommonKeyless(_Keyless, frozen=True, kw_only=True):
    dsseEnvelope: dsse.Envelope  # noqa: N815


class _KeyWire(_Key, frozen=True, kw_only=True):
    dsseEnvelope: dsse.WireEnvelope  # noqa: N815


class _KeylessWire(_Keyless, frozen=True, kw_only=True):
    dsseEnvelope: dsse.WireEnvelope  # noqa: N815


def parse_bundle(line: bytes, *, what: str = "bundle") -> Bundle:
    """Read one bundle.

    Raises:
        FormatError: any ``format.*`` code; ``format.unsupported`` for a chain of certificates, or a log entry
            beside a key.
    """
    common: _CommonKey | _CommonKeyless | None  # which of both is only guessed here: a wrong guess finds neither
    if b'"publicKey"' in line[:200]:
        common = read_common(line, _CommonKey, limit=dsse.MAX_ENVELOPE)
    else:
        common = read_common(line, _CommonKeyless, limit=dsse.MAX_ENVELOPE)
    material: _Material | Material
    if common is not None:
        envelope, material = common.dsseEnvelope, common.verificationMaterial
    else:
        wire = _wire(line, what)
        envelope, material = dsse.opened(wire.dsseEnvelope, what=what), wire.verificationMaterial
    if len(envelope.signatures) != 1:
        raise FormatError(
            "format.schema", f"{what} must carry one signature", found=f"{len(envelope.signatures)} signatures"
        )
    if isinstance(material, Material):
        return Bundle(envelope=envelope, material=material)
    hint = material.publicKey.hint
    if len(hint) > MAX_HINT:
        raise FormatError(
            "format.too-large", f"{what}: the hint is too long", expected=f"at most {MAX_HINT} characters"
        )
    return Bundle(envelope=envelope, hint=hint)


def _wire(line: bytes, what: str) -> _KeyWire | _KeylessWire:
    value = loads(line, limit=dsse.MAX_ENVELOPE, what=what)
    found = value.get("verificationMaterial") if isinstance(value, dict) else None
    if not (isinstance(found, dict) and _is_keyless(found, what)):
        return convert(value, _KeyWire, what=what)
    wire = convert(value, _KeylessWire, what=what)
    check_base64(wire.verificationMaterial, found, what)
    return wire


def dump_bundle(bundle: Bundle) -> bytes:
    """Write a bundle as one line without its line end; the inverse of :func:`parse_bundle`."""
    material = bundle.material or {"publicKey": {"hint": bundle.hint}, "tlogEntries": []}
    return dumps(
        {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": dsse.wire_of(bundle.envelope)}
    )


def parse_set(data: bytes) -> tuple[Bundle, ...]:
    """Read an attestation set: JSON lines, each ended by a line feed, no blank ones.

    Raises:
        FormatError: any ``format.*`` code, and ``set.count`` for too many statements or none.
    """
    if len(data) > dsse.MAX_SET:
        raise FormatError(
            "format.too-large", "the attestation set is too large", expected=f"at most {dsse.MAX_SET} bytes"
        )
    if data and not data.endswith(b"\n"):
        raise FormatError(
            "format.syntax", "the attestation set's last line is cut off", expected="a line feed at the end"
        )
    *lines, _ = data.split(b"\n", MAX_STATEMENTS + 1)  # no more: a set of nothing but line ends has millions
    if not 1 <= len(lines) <= MAX_STATEMENTS:
        raise FormatError(
            "set.count",
            "the attestation set has the wrong number of statements",
            found=str(data.count(b"\n")),
            expected=f"1 to {MAX_STATEMENTS}",
        )
    return tuple([parse_bundle(line, what=f"statement {number}") for number, line in enumerate(lines, 1)])


def dump_set(bundles: tuple[Bundle, ...]) -> bytes:
    """Write an attestation set; the inverse of :func:`parse_set`."""
    return b"".join(dump_bundle(bundle) + b"\n" for bundle in bundles)


def _is_keyless(material: dict[str, Any], what: str) -> bool:
    """One claim of who signed, not two: a popular client once checked the weaker one (GHSA-fx35-mq7g-6g98)."""
    if "x509CertificateChain" in material:
        raise FormatError(
            "format.unsupported", f"{what} holds a chain of certificates", found="x509CertificateChain",
            expected="the signing certificate alone, as version 0.3 has it",
        )  # fmt: skip
    if "publicKey" in material and "certificate" in material:
        raise FormatError("format.schema", f"{what} names a public key and holds a certificate", expected="one of both")
    if "publicKey" in material and material.get("tlogEntries"):
        raise FormatError(
            "format.unsupported", f"{what} is signed with a key and carries a log entry", expected="tlogEntries: []"
        )
    return "certificate" in material
