"""A Sigstore's trusted root, less whatever was not in force when a signature was made.

sigstore-python holds the end of a timestamp authority's time against its signatures, and no other end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, lru_cache
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
        members = [member for part in self._parts.values() for member in part]
        self._starts = sorted({member.start for member in members if member.start is not None})
        self._ends = sorted({member.end for member in members if member.end is not None})
        self._prunings: dict[tuple[int, int], _Pruned] = {}

    def check(self) -> None:
        """Demand that the library can use it.

        Raises:
            Refused: ``trust.metadata``; ``usage.extra``.
        """
        _ = _Pruned(self._parts).verifier

    def verifier_for(self, material: Material, first: datetime, last: datetime) -> Verifier:
        """The library's verifier over what was in force from ``first`` to ``last``, the claimed times of a signature.

        Raises:
            Refused: ``signature.log`` when the log that the material names is not among them,
                ``signature.certificate`` or ``signature.time`` when no authority of that kind is.
        """
        left = self._in_force(first, last)
        _check_named(material, left, first)
        return left.verifier

    def check_authority(self, material: Material, first: datetime, last: datetime) -> None:
        """Demand that an authority then in force is named as issuer, where the library has refused and cannot say why.

        Raises:
            Refused: ``signature.certificate``.
        """
        issuer = load_certificate(material.certificate_der).issuer
        if not any(issuer in ca.subjects for ca in self._in_force(first, last).members["certificateAuthorities"]):
            raise _no_authority(material, first)

    def _in_force(self, first: datetime, last: datetime) -> _Pruned:
        """What was in force at both moments: it only follows from which beginnings and ends lie before them."""
        key = bisect_right(self._starts, first), bisect_left(self._ends, last)
        found = self._prunings.get(key)
        if found is None:
            if len(self._prunings) >= KEPT_ROOTS:
                self._prunings.clear()
            found = self._prunings[key] = _Pruned(
                {
                    part: tuple(member for member in members if member.in_force(first, last))
                    for part, members in self._parts.items()
                }
            )
        return found


class _Member:
    """A log or an authority of a trusted root."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = entry
        valid_for = entry["publicKey"].get("validFor", {}) if "publicKey" in entry else entry["validFor"]
        self.start, self.end = _moment(valid_for.get("start")), _moment(valid_for.get("end"))
        self.key_id = dsse.decode_base64(entry["logId"]["keyId"], "log id") if "publicKey" in entry else b""
        chain = entry.get("certChain", {}).get("certificates", ())
        self.subjects = [_certificate(link["rawBytes"]).subject for link in chain]

    def in_force(self, first: datetime, last: datetime) -> bool:
        """Whether its time holds both moments; without a start nobody knows, and so it does not."""
        return self.start is not None and self.start <= first and (self.end is None or last <= self.end)


class _Pruned:
    """Logs and authorities, part by part, and the library's verifier over them."""

    def __init__(self, members: Mapping[str, tuple[_Member, ...]]) -> None:
        self.members = members
        self.logs = tuple(member.key_id for member in members["tlogs"])

    @cached_property
    def verifier(self) -> Verifier:
        """Made once; raises Refused with ``trust.metadata`` or ``usage.extra``."""
        with_library = library()
        document = {"mediaType": MEDIA_TYPE} | {part: [it.entry for it in self.members[part]] for part in PARTS}
        try:
            return with_library.verifier(document)
        except Exception as error:
            raise Refused("trust.metadata", "a Sigstore trusted root cannot be used", found=words(error)) from error


def _check_named(material: Material, left: _Pruned, first: datetime) -> None:
    log = material.entry.logId.keyId
    if log not in left.logs:
        known = ", ".join(map(dsse.encode_base64, left.logs))
        raise Refused(
            "signature.log", f"no log that the trusted root has in force {_at(first)} holds a statement",
            found=f"log {dsse.encode_base64(log)!a}", expected=known or "a log whose time is not over",
        )  # fmt: skip
    if not left.members["ctlogs"] or not left.members["certificateAuthorities"]:
        raise _no_authority(material, first)
    if material.timestamps and not left.members["timestampAuthorities"]:
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
