"""Reads a wheel and its attestation set the way a host would, with the signers' keys given by hand.

Used on one's own output before it is handed over, and by owner and certifier before they put their name to it. A host
does more: which principal may say what is its policy's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from verifier.errors import Refused
from verifier.formats.bundle import Bundle
from verifier.formats.manifest import SignedManifest, parse_signed_manifest
from verifier.formats.statement import (
    MANIFEST,
    PROVENANCE,
    SBOM,
    Statement,
    parse_provenance,
    parse_statement,
)
from verifier.formats.text import Name
from verifier.judging.evidence import ROLE_OF, TITLES, TO_BE_MADE, Attested, Role, parse_attestations, payload_digest
from verifier.judging.judgements import check_embedded, check_sbom
from verifier.signatures.identities import read_claims
from verifier.signatures.signatory import Signatory
from verifier.wheels.wheel import Snapshot, read_wheel

Keys = Mapping[Role, Sequence[Signatory]]
"""Role to those who may sign in it: keys, or keyless identities."""


@dataclass(frozen=True)
class Review:
    """A wheel and what verifiably is said of it.

    Args:
        snapshot: the wheel, strictly read.
        statements: predicate type to statement, each signed by a key of its role and about this wheel.
        bundles: the set's bundles by predicate type, in the set's order.
        rebuilds: what rebuilders said of it, by their signers, as stated.
    """

    snapshot: Snapshot
    statements: Mapping[str, Attested]
    bundles: Mapping[str, Bundle]
    rebuilds: Mapping[str, Bundle] = field(default_factory=dict)

    def kept(self, *without: str) -> tuple[Bundle, ...]:
        """The set's bundles less those of these types: what another is added to. Rebuilds stay."""
        return (*(bundle for kind, bundle in self.bundles.items() if kind not in without), *self.rebuilds.values())

    def require(self, kind: str) -> Attested:
        """The statement of a type.

        Raises:
            Refused: ``set.statement-missing``.
        """
        if kind not in self.statements:
            present = ", ".join(sorted(TITLES[found] for found in self.statements)) or "none that counts"
            raise Refused(
                "set.statement-missing", f"the attestation set has no {TITLES[kind]}", found=present,
                expected=f"a {TITLES[kind]}", todo=TO_BE_MADE.get(kind, ""),
            )  # fmt: skip
        return self.statements[kind]


def review(wheel: bytes, file_name: str, attestations: bytes | None, keys: Keys) -> Review:
    """Verify every statement of a set, and that those that are there agree.

    Args:
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: the set's bytes; None when there is none.
        keys: role to those who may sign in it. A statement by anybody else is refused.

    Raises:
        Refused: ``wheel.*``, ``set.*``, ``signature.*``, ``subject.digest``, ``manifest.*``, ``sbom.*``.
        FormatError: any ``format.*`` code.
    """
    snapshot = read_wheel(wheel, file_name)
    read = statements_of(attestations, keys, snapshot.digest)
    statements = {kind: statement for kind, (statement, _) in read.single.items()}
    found = Review(snapshot, statements, {kind: bundle for kind, (_, bundle) in read.single.items()}, read.rebuilds)
    if MANIFEST in statements:
        check_manifest(parse_signed_manifest(statements[MANIFEST].statement.predicate), found)
    return found


class Statements(NamedTuple):
    """A set taken apart: statement and bundle by predicate type; the rebuilds' bundles by their signers, as stated."""

    single: Mapping[str, tuple[Attested, Bundle]]
    rebuilds: Mapping[str, Bundle]


def statements_of(attestations: bytes | None, keys: Keys, artifact: str | None) -> Statements:
    """Each statement of a set with its bundle: signed by a key of its role, all about one artifact.

    Args:
        attestations: the set's bytes; None when there is none.
        keys: role to the keys that may sign in it.
        artifact: the artifact's digest; None when any will do, if only it is one.

    Raises:
        Refused: ``set.*``, ``signature.*``, ``subject.digest``, ``format.*``.
    """
    found: dict[str, tuple[Attested, Bundle]] = {}
    rebuilds: dict[str, Bundle] = {}
    for bundle in parse_attestations(attestations):
        statement = _open(bundle, keys, artifact)
        artifact = f"sha256:{statement.statement.sha256}"
        kind = statement.statement.predicate_type
        if statement.signer == "rebuilder":
            who = signer_stated(bundle)
            if who in rebuilds:
                raise Refused("set.duplicate", "the set has two rebuilds by one signer", found=who)
            rebuilds[who] = bundle
            continue
        if kind in found:
            raise Refused("set.duplicate", f"the set has two statements of one kind: {TITLES[kind]}")
        found[kind] = statement, bundle
    return Statements(found, rebuilds)


def check_manifest(manifest: SignedManifest, found: Review) -> None:
    """That a manifest, signed or about to be, pins exactly this wheel, RECORD, SBOM and builder.

    Raises:
        Refused: ``subject.digest``, ``manifest.record``, ``manifest.embedded``, ``sbom.*``, ``provenance.builder``.
    """
    for code, what, stated, expected in (
        ("subject.digest", "the manifest pins another wheel", manifest.artifact_digest, found.snapshot.digest),
        ("manifest.record", "the manifest pins another RECORD", manifest.record_digest, found.snapshot.record_digest),
    ):
        if stated != expected:
            raise Refused(code, what, found=str(stated), expected=str(expected))
    check_embedded(manifest, found.snapshot)
    check_sbom(manifest, found.require(SBOM), found.snapshot)
    if PROVENANCE in found.statements:
        built_by = parse_provenance(found.statements[PROVENANCE].statement.predicate).runDetails.builder.id
        if built_by != manifest.built_by:
            raise Refused(
                "provenance.builder",
                "built by another builder than the manifest says",
                found=built_by,
                expected=manifest.built_by,
            )


def manifest_awaiting(unsigned: bytes, found: Review) -> SignedManifest:
    """The manifest that awaits its owner, held against the wheel and what the builder verifiably said of it.

    Raises:
        Refused: ``format.unsupported`` for another kind of statement; as :func:`check_manifest`.
        FormatError: any ``format.*`` code.
    """
    statement = parse_statement(unsigned, what="the unsigned manifest statement")
    if statement.predicate_type != MANIFEST:
        raise Refused(
            "format.unsupported",
            "this is not a manifest statement",
            found=ascii(statement.predicate_type[:100]),
            expected=MANIFEST,
        )
    manifest = parse_signed_manifest(statement.predicate)
    check_manifest(manifest, found)
    return manifest


def _open(bundle: Bundle, keys: Keys, artifact: str | None) -> Attested:
    role, signatory = _signer(bundle, keys)
    payload, made = signatory.open(bundle)
    statement = parse_statement(payload)
    _check_role(statement, role)
    if artifact is not None and f"sha256:{statement.sha256}" != artifact:
        raise Refused(
            "subject.digest",
            f"the {TITLES[statement.predicate_type]} is about another artifact",
            found=f"sha256:{statement.sha256}",
            expected=artifact,
        )
    return Attested(statement, Name(role), payload_digest(payload), made)


def _signer(bundle: Bundle, keys: Keys) -> tuple[Role, Signatory]:
    for role, candidates in keys.items():
        for signatory in candidates:
            if signatory.selected_by(bundle):
                return role, signatory
    keyless = bundle.material is not None
    raise Refused(
        "signature.identity" if keyless else "signature.unknown-signer",
        f"the set holds a statement by {'an identity' if keyless else 'a key'} that was not named",
        found=signer_stated(bundle),
        expected=", ".join(f"{role}: {signatory.id}" for role, several in keys.items() for signatory in several),
        todo="Name the keys or identities of the builder and the owner that you expect.",
    )


def check_signed_by_other(bundle: Bundle, several: Sequence[Signatory], role: str) -> None:
    """Demand that a bundle just signed is by none of those who sign in another role; keyless, that shows only now.

    Raises:
        Refused: ``roles.not-disjoint``.
    """
    if any(signatory.selected_by(bundle) for signatory in several):
        raise Refused(
            "roles.not-disjoint", f"this signature is the {role}'s as well", found=signer_stated(bundle),
            expected="a signature of somebody else", todo="Have it signed by somebody who is not in that role.",
        )  # fmt: skip


def signer_stated(bundle: Bundle) -> str:
    """Whom a bundle claims to be by, in words: a key's hint, or what a certificate states."""
    if bundle.material is None:
        return ascii((bundle.hint or "")[:80])
    claims = read_claims(bundle.material.certificate_der)
    return f"{claims.subject[:300]!a}, by the word of {claims.issuer[:200]!a}"


def _check_role(statement: Statement, role: Role) -> None:
    expected = ROLE_OF.get(statement.predicate_type)
    if expected is None:
        raise Refused(
            "format.unsupported",
            "the set holds a statement of an unknown type",
            found=ascii(statement.predicate_type[:100]),
            expected=", ".join(TITLES.values()),
        )
    if role != expected and (role, statement.predicate_type) != ("rebuilder", PROVENANCE):
        raise Refused(
            "signature.wrong-signer",
            f"the {TITLES[statement.predicate_type]} is signed by the {role}",
            expected=f"a signature by the {expected}",
        )
