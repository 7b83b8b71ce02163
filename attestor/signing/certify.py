"""The certifier's verdict on exactly what a set holds: a SLSA verification summary with tier and expiry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from attestor.checking.review import Keys, Review, check_signed_by_other, review
from attestor.describing.precedent import Precedent, check_precedes
from attestor.signing.signers import Signer
from attestor.signing.statements import draft, gate_of
from verifier.errors import Refused, UsageError
from verifier.formats.bundle import dump_set
from verifier.formats.manifest import SignedManifest, parse_signed_manifest
from verifier.formats.policy import TIERS, TierName
from verifier.formats.statement import (
    CERTIFICATION,
    LAYOUT,
    MANIFEST,
    Certification,
    Conditions,
    InputAttestation,
    PolicyReference,
    VerifierIdentity,
)
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, Hex, Time
from verifier.judging.evidence import TITLES
from verifier.judging.growth import Change, by_risk, compare, compare_evidence, compare_terms
from verifier.wheels.wheel import Snapshot

#: Who certifies, when nothing else is said; the signature's key decides who it is.
CERTIFIER = "https://loadlock.dev/certifiers/key"
#: The policy that is named when its digest is not known.
NO_POLICY = "https://loadlock.dev/policies/unstated"
SLSA_VERSION = "1.1"


@dataclass(frozen=True)
class Terms:
    """What a certification grants.

    Args:
        tier: the tier it is for.
        expires: until when; a later load is refused.
        conditions: under which conditions, in words.
        certifier_id: the certifier's URI.
        policy: the policy that was certified under.
        layout: the digest of the in-toto layout that the certifier saw fulfilled.
    """

    tier: TierName
    expires: datetime
    conditions: Sequence[str] = ()
    certifier_id: str = CERTIFIER
    policy: PolicyReference = field(default_factory=lambda: PolicyReference(uri=NO_POLICY))
    layout: Digest | None = None


@dataclass(frozen=True)
class Certified:
    """The set with the certification, and the manifest that was certified."""

    attestations: bytes
    manifest: SignedManifest


def certify(
    wheel: bytes,
    file_name: str,
    attestations: bytes | None,
    certifier: Signer,
    keys: Keys,
    terms: Terms,
    *,
    now: datetime,
) -> Certified:
    """Certify everything that a set says of a wheel; an earlier certification by the same key is replaced.

    Args:
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: the set, endorsed by its owner.
        certifier: the certifier's key.
        keys: the builders' and the owner's keys, as the certifier knows them.
        terms: what is granted.
        now: the moment, aware, UTC.

    Raises:
        UsageError: ``usage.arguments``: the expiry has passed.
        Refused: whatever :func:`attestor.checking.review.review` refuses; ``set.statement-missing`` without an owner's
            statement; ``leak.found``.
    """
    found = review_for_certification(wheel, file_name, attestations, certifier, keys)
    manifest = manifest_of(found)
    if terms.expires <= now:
        raise UsageError("usage.arguments", "the certification would have expired already", found=f"{terms.expires}")
    summary = _summary(found, terms, now)
    statement = draft(found.snapshot, CERTIFICATION, dumps(summary), gate_of(manifest))
    bundle = statement.sign(certifier)
    for role, several in keys.items():
        if role != "certifier":
            check_signed_by_other(bundle, several, role)
    return Certified(dump_set((*found.kept(CERTIFICATION), bundle)), manifest)


def review_for_certification(
    wheel: bytes, file_name: str, attestations: bytes | None, certifier: Signer, keys: Keys
) -> Review:
    """What the certifier gets to see before signing.

    Raises:
        Refused: as :func:`attestor.checking.review.review`; ``roles.not-disjoint``: the certifier is builder or owner
            as well.
    """
    for role, several in keys.items():
        if role != "certifier" and certifier.signatory.id in {key.id for key in several}:
            raise Refused(
                "roles.not-disjoint", f"the certifier's key is the {role}'s", found=certifier.signatory.id,
                expected="a key of somebody else", todo="Have it certified by somebody who neither built nor owns it.",
            )  # fmt: skip
    return review(wheel, file_name, attestations, {**keys, "certifier": [certifier.signatory]})


def manifest_of(found: Review) -> SignedManifest:
    """The owner's signed manifest of a reviewed set.

    Raises:
        Refused: ``set.statement-missing``.
    """
    return parse_signed_manifest(found.require(MANIFEST).statement.predicate)


def changes_since(precedent: Precedent, found: Review, terms: Terms) -> list[Change]:
    """How what is about to be certified differs from what was, the riskiest first.

    Raises:
        Refused: ``manifest.plugin-id``: the two are not of one plugin.
    """
    manifest = manifest_of(found)
    check_precedes(precedent, manifest)
    before, after = (
        [TITLES[kind] for kind in kinds if kind != CERTIFICATION] for kinds in (precedent.statements, found.statements)
    )
    was = precedent.certification.terms
    return by_risk(
        chain(
            compare(precedent.manifest, manifest),
            compare_evidence(before, after),
            compare_terms((was.tier, was.conditions), (terms.tier, terms.conditions), TIERS),
        )
    )


def check_no_growth(changes: Sequence[Change] | None) -> None:
    """Demand that nothing grew since the earlier release; None when there is none.

    Raises:
        Refused: ``certify.no-precedent``, ``certify.growth``.
    """
    if changes is None:
        raise Refused("certify.no-precedent", "growth is to be refused, and there is nothing to compare with")
    grown = [change for change in changes if change.grows]
    if grown:
        raise Refused(
            "certify.growth", "the release may do more than the one that was certified before",
            found="; ".join(f"{change.field}: {change.before} → {change.after}" for change in grown[:5]),
            expected="nothing that grows",
        )  # fmt: skip


def _summary(found: Review, terms: Terms, now: datetime) -> Certification:
    layout = () if terms.layout is None else (InputAttestation(uri=LAYOUT, digest={"sha256": Hex(terms.layout.hex)}),)
    return Certification(
        verifier=VerifierIdentity(id=terms.certifier_id),
        timeVerified=Time.of(now),
        resourceUri=_purl(found.snapshot),
        policy=terms.policy,
        inputAttestations=(
            *(
                InputAttestation(uri=kind, digest={"sha256": Hex(statement.payload_digest.hex)})
                for kind, statement in found.statements.items()
                if kind != CERTIFICATION
            ),
            *layout,
        ),
        verificationResult="PASSED",
        verifiedLevels=(f"LOADLOCK_TIER_{terms.tier.upper()}",),
        slsaVersion=SLSA_VERSION,
        terms=Conditions(tier=terms.tier, expires=Time.of(terms.expires), conditions=tuple(terms.conditions)),
    )


def _purl(wheel: Snapshot) -> str:
    return f"pkg:pypi/{wheel.name}@{wheel.version}"
