"""Adds what a builder found to a set that exists already: an audit, the outcome of the release checklist.

A certification names every statement it rests on, so it does not outlive the addition: it is taken out, and the
certifier signs again. An audit alone may be renewed under one that names an audit.
"""

from __future__ import annotations

from dataclasses import dataclass

from attestor.checking.review import Keys, Review, manifest_awaiting, review
from attestor.signing.signers import Signer
from attestor.signing.statements import draft, gate_of
from verifier.errors import Refused
from verifier.formats.bundle import dump_set
from verifier.formats.manifest import SignedManifest, parse_signed_manifest
from verifier.formats.statement import CERTIFICATION, MANIFEST, parse_certification
from verifier.judging.authority import RENEWABLE


@dataclass(frozen=True)
class Subject:
    """A wheel with its set, reviewed, and the manifest of the two: signed, or awaiting its owner."""

    file_name: str
    wheel: bytes
    found: Review
    manifest: SignedManifest
    keys: Keys


@dataclass(frozen=True)
class Amended:
    """The set with the statement, and whether a certification had to go."""

    attestations: bytes
    certification_removed: bool


def open_subject(
    wheel: bytes, file_name: str, attestations: bytes | None, unsigned: bytes | None, keys: Keys
) -> Subject:
    """Review what is to be amended.

    Args:
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: its set.
        unsigned: the manifest's statement as the build left it, if it is still there.
        keys: role to the keys that may sign in it.

    Raises:
        Refused: whatever :func:`attestor.checking.review.review` refuses; ``set.statement-missing`` without any
            manifest.
        FormatError: any ``format.*`` code.
    """
    found = review(wheel, file_name, attestations, keys)
    if MANIFEST in found.statements:
        manifest = parse_signed_manifest(found.statements[MANIFEST].statement.predicate)
    elif unsigned is not None:
        manifest = manifest_awaiting(unsigned, found)
    else:
        raise Refused(
            "set.statement-missing", "there is no manifest, neither signed nor awaiting its owner",
            expected="one in the set, or the one that the build left beside the wheel",
        )  # fmt: skip
    return Subject(file_name, wheel, found, manifest, keys)


def amend(subject: Subject, kind: str, predicate: bytes, builder: Signer) -> Amended:
    """Sign a statement as the builder and put it into the set, in the place of an earlier one of its kind.

    Raises:
        Refused: ``leak.found``.
        FormatError: the predicate is not JSON of an acceptable size.
    """
    found = subject.found
    bundle = draft(found.snapshot, kind, predicate, gate_of(subject.manifest)).sign(builder)
    replaced = {kind} if _may_renew(found, kind) else {kind, CERTIFICATION}
    attestations = dump_set((*found.kept(*replaced), bundle))
    review(subject.wheel, subject.file_name, attestations, subject.keys)
    return Amended(attestations, certification_removed=CERTIFICATION in found.statements.keys() & replaced)


def _may_renew(found: Review, kind: str) -> bool:
    """Whether the set's certification covers a later statement of this kind as well."""
    if kind not in RENEWABLE or CERTIFICATION not in found.statements:
        return False
    certification = parse_certification(found.statements[CERTIFICATION].statement.predicate)
    return kind in {entry.uri for entry in certification.inputAttestations}
