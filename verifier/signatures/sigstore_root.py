"""A Sigstore's trusted root, less whatever was not in force when a signature was made.

sigstore-python holds the end of a timestamp authority's time against its signatures, and no other end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.material import Material
from verifier.formats.strict_json import loads
from verifier.signatures.identities import load_certificate
from verifier.signatures.sigstore_library import library, words

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

MAX_ROOT = 1024 * 1024
"""Size cap of a trusted root in bytes."""
MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
KEPT_ROOTS = 16
"""How many trusted roots, and how many prunings of each, are kept ready."""
PARTS = ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")


def check_trusted_root(data: bytes) -> None:
    """Demand that a file is a trusted root that this release and its library can use.

    Raises:
        Refused: ``trust.metadata``; ``usage.extra``.
    """
    SigstoreRoot(data).check()


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
            raise Refused("trust.metadata", "a Sigstore trusted root cannot be read", found=words(error)) from error
        self._verifiers: dict[tuple[tuple[_Member, ...], ...], Verifier] = {}

    def check(self) -> None:
        """Demand that the library can use it.

        Raises:
            Refused: ``trust.metadata``; ``usage.extra``.
        """
        _make_verifier({part: list(members) for part, members in self._parts.items()})

    def verifier_for(self, material: Material, first: datetime, last: datetime) -> Verifier:
        """The library's verifier over what was in force from ``first`` to ``last``, the claimed times of a signature.

        Raises:
            Refused: ``signature.log`` when the log that the material names is not among them,
                ``signature.certificate`` or ``signature.time`` when no authority of that kind is.
        """
        left = {part: self._in_force(part, first, last) for part in PARTS}
        _check_named(material, left, first)
        key = tuple(map(tuple, left.values()))
        if key not in self._verifiers:
            if len(self._verifiers) >= KEPT_ROOTS:
                self._verifiers.clear()
            self._verifiers[key] = _make_verifier(left)
        return self._verifiers[key]

    def check_authority(self, material: Material, first: datetime, last: datetime) -> None:
        """Demand that an authority then in force is named as issuer, where the library has refused and cannot say why.

        Raises:
            Refused: ``signature.certificate``.
        """
        issuer = load_certificate(material.certificate_der).issuer
        if not any(issuer in ca.subjects for ca in self._in_force("certificateAuthorities", first, last)):
            raise _no_authority(material, first)

    def _in_force(self, part: str, first: datetime, last: datetime) -> list[_Member]:
        return [member for member in self._parts[part] if member.in_force(first, last)]


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


def _check_named(material: Material, left: Mapping[str, list[_Member]], first: datetime) -> None:
    log, logs = material.entry.logId.keyId, [member.key_id for member in left["tlogs"]]
    if log not in logs:
        raise Refused(
            "signature.log", f"no log that the trusted root has in force {_at(first)} holds a statement",
            found=f"log {log!a}", expected=", ".join(logs) or "a log whose time is not over",
        )  # fmt: skip
    if not left["ctlogs"] or not left["certificateAuthorities"]:
        raise _no_authority(material, first)
    if material.has_timestamps and not left["timestampAuthorities"]:
        raise Refused(
            "signature.time",
            f"a statement's timestamp is by no authority that the trusted root has in force {_at(first)}",
        )


def _no_authority(material: Material, first: datetime) -> Refused:
    return Refused(
        "signature.certificate",
        f"the signing certificate is by no authority that the trusted root has in force {_at(first)}",
        found=ascii(load_certificate(material.certificate_der).issuer.rfc4514_string()[:200]),
    )


def _at(moment: datetime) -> str:
    return f"at {moment:%Y-%m-%dT%H:%M:%SZ}"


def _make_verifier(left: Mapping[str, list[_Member]]) -> Verifier:
    with_library = library()
    document = {"mediaType": MEDIA_TYPE} | {part: [member.entry for member in left[part]] for part in PARTS}
    try:
        return with_library.verifier(document)
    except Exception as error:
        raise Refused("trust.metadata", "a Sigstore trusted root cannot be used", found=words(error)) from error


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
