"""Keyless signatures, verified offline through sigstore-python against a pinned trusted root.

The library is imported when the first such signature is met: it takes longer to import than all the rest. Around it
stands what it leaves to its caller (decision record 0015): all its exceptions are refusals, and so is a log or an
authority whose time was over when the signature was made, a missing timestamp where one is demanded, and a payload that
is no in-toto statement.

    (1) the material: when the signature claims to have been made
    (2) the trusted root, less whatever was not in force at that time
    (3) the log and the authority that the material names are in it
    (4) the library: certificate, its log, identity, log entry, timestamps, signature
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from verifier.errors import LoadlockError, Refused
from verifier.formats import dsse
from verifier.formats.bundle import Bundle, dump_bundle
from verifier.formats.identity import Stated
from verifier.formats.material import Material
from verifier.formats.strict_json import loads
from verifier.signatures.identities import read_claims
from verifier.signatures.signatory import Made, Opened

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

MAX_ROOT = 1024 * 1024
"""Size cap of a trusted root in bytes."""
MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_NEVER_SIGNS = {
    "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    "signingConfig": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
}
KEPT_ROOTS = 16
"""How many trusted roots, and how many prunings of each, are kept ready."""
PARTS = ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")
EXTRA = frozenset({"id", "pydantic", "rekor_types", "requests", "rfc3161_client", "sigstore", "sigstore_models"})
"""What the extra ``keyless`` brings."""


def verify(bundle: Bundle, identity: Stated, root: bytes, *, timestamp: bool) -> Opened:
    """Verify a keyless bundle; the numbers are those of the module's docstring.

    Args:
        bundle: a bundle with a certificate.
        identity: who has to have signed it.
        root: the trusted root, as JSON.
        timestamp: whether a timestamp authority has to vouch for the time; then the log's own word is not asked.

    Raises:
        Refused: ``signature.*``; ``usage.extra``; ``trust.metadata`` for a trusted root that is none.
    """
    material = bundle.material
    if material is None:
        raise Refused("signature.invalid", "a signature with a key is none by an identity", expected=identity.id)
    trusted = trusted_root(root)
    if timestamp:
        material = _without_promise(material)
        bundle = msgspec.structs.replace(bundle, material=material)
    times = claimed_times(material)  # (1)
    if not times:
        raise Refused(
            "signature.time", "nobody whom the policy asks vouches for when a statement was signed",
            found="no timestamp" if timestamp else "neither a timestamp nor a log's time",
            expected="a timestamp authority's signature" if timestamp else "one of both",
        )  # fmt: skip
    verifier = trusted.verifier_for(material, min(times), max(times))  # (2), (3)
    payload = _verified(verifier, bundle, identity)  # (4)
    return Opened(payload, Made(at=max(times)))


def claimed_times(material: Material) -> tuple[datetime, ...]:
    """Every moment at which the material claims that the signature existed; none of them has been verified.

    Raises:
        Refused: ``signature.time`` for a timestamp that cannot be read; ``usage.extra``.
    """
    decode = _timestamp_reader() if material.timestamps else None
    entry, times = material.entry, []
    try:
        if entry.inclusionPromise is not None and entry.integratedTime is not None:
            times.append(datetime.fromtimestamp(int(entry.integratedTime), UTC))
        times += [decode(stamp) for stamp in material.timestamps if decode is not None]
    except Exception as error:
        raise Refused("signature.time", "a statement's time cannot be read", found=_words(error)) from error
    return tuple(times)


def check_trusted_root(data: bytes) -> None:
    """Demand that a file is a trusted root that this release and its library can use.

    Raises:
        Refused: ``trust.metadata``; ``usage.extra``.
    """
    SigstoreRoot(data).check()


def public_trusted_root() -> bytes:
    """The trusted root of the public Sigstore, as the library brings or last fetched it; no connection is made.

    Raises:
        Refused: ``usage.extra``.
    """
    return _library().public_root()


@lru_cache(maxsize=KEPT_ROOTS)
def trusted_root(data: bytes) -> SigstoreRoot:
    """Read a trusted root; the same bytes are read once.

    Raises:
        Refused: ``trust.metadata``.
    """
    return SigstoreRoot(data)


class SigstoreRoot:
    """The logs and authorities of one Sigstore, with the times of each.

    Args:
        data: the trusted root's JSON (protobuf-specs, ``TrustedRoot``).

    Raises:
        Refused: ``trust.metadata``.
    """

    def __init__(self, data: bytes) -> None:
        try:
            document = loads(data, limit=MAX_ROOT, what="trusted root")
            if document["mediaType"] != MEDIA_TYPE:
                raise ValueError(f"media type {document['mediaType']!a}")
            self._parts = {part: tuple(_Member(entry) for entry in document.get(part, ())) for part in PARTS}
            for part in PARTS[:3]:
                if not self._parts[part]:
                    raise ValueError(f"it names no {part}")
        except Exception as error:
            raise Refused("trust.metadata", "a Sigstore trusted root cannot be read", found=_words(error)) from error
        self._verifiers: dict[tuple[tuple[bool, ...], ...], Verifier] = {}

    def check(self) -> None:
        """Demand that the library can use it.

        Raises:
            Refused: ``trust.metadata``; ``usage.extra``.
        """
        _make_verifier({part: list(members) for part, members in self._parts.items()})

    def verifier_for(self, material: Material, first: datetime, last: datetime) -> Verifier:
        """The library's verifier over what was in force from ``first`` to ``last``, the claimed times of a signature.

        sigstore-python holds the end of a timestamp authority's time against its signatures, and no other end.

        Raises:
            Refused: ``signature.log`` or ``signature.certificate`` when the log or the authority that the material
                names is not among them, ``signature.time`` when no timestamp authority is.
        """
        kept = {
            part: tuple(member.in_force(first, last) for member in members) for part, members in self._parts.items()
        }
        left = {
            part: [member for member, keep in zip(self._parts[part], kept[part], strict=True) if keep] for part in PARTS
        }
        _check_named(material, left, f"at {first:%Y-%m-%dT%H:%M:%SZ}")
        key = tuple(kept[part] for part in PARTS)
        if key not in self._verifiers:
            if len(self._verifiers) >= KEPT_ROOTS:
                self._verifiers.clear()
            self._verifiers[key] = _make_verifier(left)
        return self._verifiers[key]


class _Member:
    """A log or an authority of a trusted root."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = entry
        valid_for = entry["publicKey"].get("validFor", {}) if "publicKey" in entry else entry["validFor"]
        self._start, self._end = _moment(valid_for.get("start")), _moment(valid_for.get("end"))
        self.key_id = str(entry["logId"]["keyId"]) if "publicKey" in entry else ""
        chain = entry.get("certChain", {}).get("certificates", ())
        self.subjects = [_certificate(link["rawBytes"]).subject for link in chain]

    def in_force(self, first: datetime, last: datetime) -> bool:
        """Whether its time holds both moments; without a start nobody knows, and so it does not."""
        return self._start is not None and self._start <= first and (self._end is None or last <= self._end)


def _check_named(material: Material, left: Mapping[str, list[_Member]], when: str) -> None:
    log = material.entry.logId.keyId
    if log not in {member.key_id for member in left["tlogs"]}:
        raise Refused(
            "signature.log", f"no log that the trusted root has in force {when} holds a statement",
            found=f"log {log!a}",
            expected=", ".join(member.key_id for member in left["tlogs"]) or "a log whose time is not over",
        )  # fmt: skip
    issuer = _certificate(material.certificate.rawBytes).issuer
    if not left["ctlogs"] or issuer not in [name for ca in left["certificateAuthorities"] for name in ca.subjects]:
        raise Refused(
            "signature.certificate",
            f"the signing certificate is by no authority that the trusted root has in force {when}",
            found=ascii(issuer.rfc4514_string()[:200]),
        )
    if material.timestamps and not left["timestampAuthorities"]:
        raise Refused(
            "signature.time", f"a statement's timestamp is by no authority that the trusted root has in force {when}"
        )


def _make_verifier(left: Mapping[str, list[_Member]]) -> Verifier:
    with_library = _library()
    document = {"mediaType": MEDIA_TYPE} | {part: [member.entry for member in left[part]] for part in PARTS}
    try:
        return with_library.verifier(document)
    except Exception as error:
        raise Refused("trust.metadata", "a Sigstore trusted root cannot be used", found=_words(error)) from error


def _verified(verifier: Verifier, bundle: Bundle, identity: Stated) -> bytes:
    """What the signature covers, by the library's judgement and by ours."""
    library = _library()
    try:
        # What it gets is written anew from what was read: no second reading of the same bytes.
        kind, payload = verifier.verify_dsse(library.bundle(dump_bundle(bundle)), _Demanded(identity))
    except LoadlockError:
        raise
    except Exception as error:  # it raises a dozen kinds on hostile bundles, its own and others'
        raise Refused(
            "signature.invalid", "a keyless signature does not verify", found=_words(error), expected=identity.id
        ) from error
    if kind != dsse.IN_TOTO or payload != bundle.envelope.unverified_payload:
        raise Refused("signature.invalid", "what was verified is not what was read", expected=identity.id)
    return bytes(payload)


class _Demanded:
    """The identity, asked for by the library once the certificate is verified."""

    def __init__(self, identity: Stated) -> None:
        self._identity = identity

    def verify(self, cert: Certificate) -> None:
        """Return when the certificate is for the identity; raises Refused with ``signature.identity``."""
        from cryptography.hazmat.primitives.serialization import Encoding

        differences = self._identity.differences(read_claims(cert.public_bytes(Encoding.DER)))
        if differences:
            raise Refused(
                "signature.identity", "a certificate is for somebody else", found="; ".join(differences),
                expected=self._identity.id,
            )  # fmt: skip


class _Library:
    """The parts of sigstore-python that are used."""

    def __init__(self) -> None:
        from sigstore.models import Bundle as SigstoreBundle
        from sigstore.models import ClientTrustConfig
        from sigstore.verify import Verifier

        self.bundle: Callable[[bytes], SigstoreBundle] = SigstoreBundle.from_json
        # A trusted root alone is only read from files; around it goes the configuration of somebody who never signs.
        self.verifier: Callable[[Any], Verifier] = lambda root: Verifier(
            trusted_root=ClientTrustConfig.from_json(json.dumps({**_NEVER_SIGNS, "trustedRoot": root})).trusted_root
        )

    @staticmethod
    def public_root() -> bytes:
        """The public Sigstore's trusted root."""
        from sigstore.models import ClientTrustConfig

        # The one thing for which there is no public name: the document that the trusted root was read from.
        return ClientTrustConfig.production(offline=True).trusted_root._inner.to_json().encode()


@lru_cache(maxsize=1)
def _library() -> _Library:
    """sigstore-python.

    Raises:
        Refused: ``usage.extra``.
    """
    try:
        return _Library()
    except ModuleNotFoundError as error:
        raise _missing(error) from error


@lru_cache(maxsize=1)
def _timestamp_reader() -> Callable[[bytes], datetime]:
    """Reads the time out of a timestamp (RFC 3161), verifying nothing."""
    try:
        from rfc3161_client import decode_timestamp_response
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return lambda stamp: decode_timestamp_response(stamp).tst_info.gen_time


def _missing(error: ModuleNotFoundError) -> LoadlockError:
    if (error.name or "").partition(".")[0] not in EXTRA:
        raise error
    return Refused(
        "usage.extra", "a statement is signed keyless, and the part of Loadlock that verifies such is not installed",
        found=f"no {error.name}", expected="loadlock[keyless]",
    )  # fmt: skip


def _without_promise(material: Material) -> Material:
    """The material without the log's own word on the time: what is left has to be vouched for by timestamps."""
    entry = msgspec.structs.replace(material.entry, inclusionPromise=None, integratedTime=None)
    return msgspec.structs.replace(material, tlogEntries=(entry,))


@lru_cache(maxsize=64)
def _certificate(encoded: str) -> Certificate:
    from cryptography import x509

    return x509.load_der_x509_certificate(dsse.decode_base64(encoded, "certificate"))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _words(error: Exception) -> str:
    words = f"{error.what}: {error.found}" if isinstance(error, LoadlockError) else f"{type(error).__name__}: {error}"
    return ascii(" ".join(words.split())[:300])[1:-1]
