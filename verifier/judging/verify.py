"""Verification: from a wheel's bytes and what lies beside it to a :class:`VerifiedPlugin`, or a refusal.

The steps are those of ``docs/spec/verification.md``; each raises with a code of its own:

 (0) trust: the right deployment, at or above the floor, in force; the clock is not behind
 (1) reading: the wheel under its size cap, and its sha256
 (2) revocation list: fresh enough, and neither the artifact nor a dependency is on it
 (3) attestation set: there, and strictly parsed
 (4) signatures: by principals whom the policy names for that role and plugin
 (5) subject: exactly this wheel
 (6) wheel: a strict archive whose RECORD, METADATA and file name agree
 (7) manifest: the embedded one equals the signed one; id, version, owner, expiry, API version
 (8) SBOM and dependencies
 (9) provenance and disjoint roles
(10) certification, known vulnerabilities, release checklist
(11) standing revocation rules
(12) decision: :mod:`verifier.judging.decide`

Nothing here reads a file, a clock or the network. Whoever ignores the result has no plugin: there is no boolean.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType

from verifier.errors import Refused
from verifier.formats.manifest import SignedManifest, parse_signed_manifest
from verifier.formats.policy import Assurance, PluginRule, TierName
from verifier.formats.sbom import Component
from verifier.formats.statement import MANIFEST, SBOM
from verifier.formats.text import Digest, Time, Version
from verifier.judging import decide
from verifier.judging.authority import (
    check_certification,
    check_certified,
    check_layout,
    check_provenance,
    check_roles,
    tier_of,
)
from verifier.judging.dependencies import check_dependencies, locked_wheels
from verifier.judging.evidence import Evidence, parse_attestations, weigh
from verifier.judging.facts import VerifiedPlugin
from verifier.judging.findings import Findings, check_findings
from verifier.judging.ground import Ground
from verifier.judging.judgements import (
    api_of,
    check_dependencies_not_listed,
    check_embedded,
    check_embedded_where_demanded,
    check_in_force,
    check_list,
    check_manifest,
    check_not_listed,
    check_sbom,
    check_subjects,
    rule_of,
)
from verifier.judging.steps import Outcome, Steps
from verifier.judging.verdicts import Entry, Settled, Verdicts
from verifier.judging.waivers import Waivers
from verifier.revocation.revocation_list import Freshness
from verifier.revocation.rulebook import check_rules
from verifier.revocation.standing_rules import Subject, subject_of
from verifier.value import Value
from verifier.wheels.wheel import DEFAULT_LIMITS, Snapshot, WheelReader, read_wheel

__all__ = ["Candidate", "Ground", "VerifiedPlugin", "WheelReader", "judge", "verify"]


class Candidate(Value, frozen=True):
    """What is to be verified: a wheel in memory, or one that an installer has unpacked.

    Attributes:
        file_name: the wheel's file name.
        assurance: how its files are held against what was attested.
        identify: step 1: the artifact's digest, and a word on what was read.
        open: step 6: its files; of one that is installed, given the signed manifest, which pins RECORD.
    """

    file_name: str
    assurance: Assurance
    identify: Callable[[], tuple[Digest, str]]
    open: Callable[[SignedManifest | None], Snapshot]


def verify(
    wheel: bytes,
    file_name: str,
    attestations: bytes | None,
    ground: Ground,
    wall: datetime,
    request: decide.Request = decide.ANY,
    observe: Callable[[Outcome], None] | None = None,
    read: WheelReader = read_wheel,
    verdicts: Verdicts | None = None,
) -> VerifiedPlugin:
    """Verify a plugin whose wheel is in memory.

    Args:
        wheel: the wheel, read once.
        file_name: its file name.
        attestations: the attestation set beside it, or None when there is none.
        ground: trust, revocation list and floor of this host.
        wall: the clock's time (aware, UTC), read once by the caller.
        request: what the host wants to do with the plugin.
        observe: is told the outcome of each step.
        read: reads a wheel strictly: :func:`verifier.wheels.wheel.read_wheel`, or the same with a cache.
        verdicts: what weighing attestation sets led to before, if that is kept.

    Raises:
        Refused: with the code and the step of the first check that said no.
    """
    held: list[tuple[bytes, str, Digest]] = []

    def identify() -> tuple[Digest, str]:
        if len(wheel) > DEFAULT_LIMITS.archive:
            found, expected = f"{len(wheel)} bytes", f"at most {DEFAULT_LIMITS.archive} bytes"
            raise Refused("wheel.too-large", "the wheel exceeds the size cap", found=found, expected=expected)
        data = _frozen(wheel)
        digest = Digest.of(data)
        held.append((data, file_name, digest))
        return digest, f"{len(data)} bytes"

    candidate = Candidate(file_name, "snapshot", identify, lambda _: read(*held[0]))
    return judge(candidate, attestations, ground, wall, request, observe, read, verdicts)


def judge(
    candidate: Candidate,
    attestations: bytes | None,
    ground: Ground,
    wall: datetime,
    request: decide.Request = decide.ANY,
    observe: Callable[[Outcome], None] | None = None,
    read: WheelReader = read_wheel,
    verdicts: Verdicts | None = None,
) -> VerifiedPlugin:
    """Verify whatever a candidate is; the arguments and what is raised are those of :func:`verify`."""
    with Steps(observe) as steps:
        now = _stand(steps, ground, wall)
        artifact, waivers, age = _identify(steps, ground, candidate, now)
        rule, evidence, entry = _gather(steps, ground, candidate, attestations, artifact, verdicts)
        known = None if entry is None else entry.known
        snapshot, manifest, api = _compare(steps, ground, candidate, evidence, now, request, known)
        components, dependencies = _complete(steps, ground, manifest, snapshot, evidence, request, read, known)
        tier, until, findings = _authorise(steps, ground, manifest, evidence, rule, waivers, known)
        subject = _hold(steps, ground, manifest, evidence, components, request)
        check_embedded_where_demanded(ground.trust.policy.tiers[tier], snapshot)
        decide.check_assurance(candidate.assurance, tier, ground.trust.policy)
        decide.check(manifest, artifact, tier, rule, ground.trust.policy, request)
        if not age.fresh:
            age = waivers.freshness(ground.revocations, ground.grace_of(tier))
        warnings = decide.warnings(manifest, until, findings, ground.trust.policy, age, now)
        warnings += waivers.warnings + ground.warnings
        decide.check_strict(warnings, request)
        if entry is not None and known is None:
            entry.keep(Settled(manifest.plugin_id, evidence, components, tier, until))
        steps.passed(12, lambda: f"allowed at tier {tier}")
    return VerifiedPlugin(
        plugin_id=manifest.plugin_id,
        version=manifest.version,
        artifact_digest=artifact,
        tier=tier,
        snapshot=snapshot,
        dependencies=dependencies,
        manifest=manifest,
        signers=MappingProxyType({kind: found.signer for kind, found in evidence.attested.items()}),
        made=MappingProxyType({kind: found.made for kind, found in evidence.attested.items()}),
        statements=MappingProxyType({kind: found.payload_digest for kind, found in evidence.attested.items()}),
        subject=subject,
        list_seq=ground.revocations.head.seq,
        list_epoch=ground.revocations.head.epoch,
        list_age=age.age,
        policy_version=ground.trust.policy.version,
        verified_at=now,
        severity=findings.severity,
        warnings=warnings,
        rebuilders=evidence.rebuilders,
        assurance=candidate.assurance,
        api=api,
        waivers=waivers.used,
    )


def _stand(steps: Steps, ground: Ground, wall: datetime) -> datetime:
    """Step 0: on which ground, and at which moment, all is judged."""
    now = ground.fix_time(wall)
    ground.trust.check(ground.deployment, ground.floor, now)
    policy = ground.trust.policy
    steps.passed(0, lambda: f"policy {policy.version} of {policy.deployment!r}, valid until {policy.valid_until}")
    return now


def _identify(steps: Steps, ground: Ground, candidate: Candidate, now: datetime) -> tuple[Digest, Waivers, Freshness]:
    """Steps 1 and 2: which artifact all the rest is about, that it is not revoked, and how fresh the list is."""
    digest, what = candidate.identify()
    steps.passed(1, lambda: f"{what}, {digest}")
    check_list(ground.revocations, ground.trust.checkpoint, ground.deployment, ground.floor)
    waivers = Waivers(ground.trust.policy, digest, now)
    longest = ground.grace_of(*ground.trust.policy.tiers)  # step 12 knows which tier's
    age = waivers.freshness(ground.revocations, longest)
    check_not_listed(ground.revocations, digest)
    head = ground.revocations.head
    steps.passed(2, lambda: f"not listed as of seq {head.seq}, issued {head.issued}")
    return digest, waivers, age


def _frozen(data: bytes) -> bytes:
    """The same bytes where nobody can change them: a caller's mutable buffer is copied, before it is first judged."""
    return data if type(data) is bytes else bytes(memoryview(data))


def _gather(
    steps: Steps,
    ground: Ground,
    candidate: Candidate,
    attestations: bytes | None,
    artifact: Digest,
    verdicts: Verdicts | None,
) -> tuple[PluginRule, Evidence, Entry | None]:
    """Steps 3 to 5: which statements count, and that they are about this artifact; and what of it all is kept."""
    frozen = None if attestations is None else _frozen(attestations)
    entry = known = None
    if verdicts is not None and frozen is not None:
        entry = verdicts.entry(frozen, artifact, candidate.file_name, candidate.assurance, ground.ring)
        known = entry.known
    bundles = parse_attestations(frozen) if known is None else ()
    steps.passed(3, lambda: "weighed before, under this very policy" if known else f"{len(bundles)} statements")
    policy = ground.trust.policy
    rule = rule_of(policy, candidate.file_name) if known is None else policy.plugins[known.plugin_id]
    evidence = weigh(bundles, ground.ring, rule, artifact) if known is None else known.evidence
    evidence.require(MANIFEST)
    steps.passed(4, evidence.words)
    if known is None:
        check_subjects(evidence, artifact)
    steps.passed(5, lambda: "all statements are about this wheel")
    return rule, evidence, entry


def _compare(
    steps: Steps,
    ground: Ground,
    candidate: Candidate,
    evidence: Evidence,
    now: datetime,
    request: decide.Request,
    known: Settled | None,
) -> tuple[Snapshot, SignedManifest, Version]:
    """Steps 6 and 7: that wheel and manifest say the same; by which API version the plugin is called."""
    signed = evidence.require(MANIFEST)
    manifest: SignedManifest | None = None
    if candidate.assurance == "installed":  # RECORD is read by the manifest's word alone
        manifest = parse_signed_manifest(signed.statement.predicate)
    snapshot = candidate.open(manifest)
    steps.passed(6, lambda: f"{len(snapshot.files)} files, RECORD complete")
    manifest = manifest or parse_signed_manifest(signed.statement.predicate)
    is_settled = known is not None and candidate.assurance == "snapshot"  # what is installed may have changed
    if not is_settled:
        check_manifest(manifest, signed.signer, snapshot)
    check_in_force(manifest, now)
    api = api_of(manifest, ground.trust.policy, request.adapters)
    if not is_settled:
        check_embedded(manifest, snapshot)
    steps.passed(7, lambda: f"{manifest.plugin_id} {manifest.version}, owner {manifest.owner}")
    return snapshot, manifest, api


def _complete(
    steps: Steps,
    ground: Ground,
    manifest: SignedManifest,
    snapshot: Snapshot,
    evidence: Evidence,
    request: decide.Request,
    read: WheelReader,
    known: Settled | None,
) -> tuple[tuple[Component, ...], tuple[Snapshot, ...]]:
    """Step 8: what goes into the plugin is listed, and what it needs is here; the wheels of its dependencies."""
    check_dependencies_not_listed(ground.revocations, manifest)
    components = known.components if known else check_sbom(manifest, evidence.require(SBOM), snapshot).components
    has_host = request.provided is not None  # where there is no host, there is no wheelhouse
    dependencies = locked_wheels(manifest, request.offers, read) if has_host else ()
    check_dependencies(manifest, snapshot, request.provided, dependencies)
    locked = manifest.dependencies
    steps.passed(8, lambda: f"SBOM pinned, {len(components)} components, {len(locked)} dependencies locked")
    return components, dependencies


def _authorise(
    steps: Steps,
    ground: Ground,
    manifest: SignedManifest,
    evidence: Evidence,
    rule: PluginRule,
    waivers: Waivers,
    known: Settled | None,
) -> tuple[TierName, Time | None, Findings]:
    """Steps 9 and 10: who built it from what, who vouches for it at which tier and until when, and what was found."""
    policy = ground.trust.policy
    tier = tier_of(evidence, policy) if known is None else known.tier
    if known is None:
        check_provenance(manifest, evidence, rule, policy.tiers[tier])
        check_roles(evidence, policy.tiers[tier])
    again = f", rebuilt to the same bytes by {', '.join(evidence.rebuilds)}" if evidence.rebuilds else ""
    steps.passed(9, lambda: f"built by {manifest.built_by!a}{again}")
    if known is None:
        until = check_certification(evidence, policy, tier, waivers)
    else:
        until = known.certified_until
        check_certified(until, waivers)
    findings = check_findings(manifest, evidence, policy.tiers[tier], waivers.now)
    if known is None:
        check_layout(evidence, rule, policy.tiers[tier])
    steps.passed(10, lambda: f"tier {tier}")
    return tier, until, findings


def _hold(
    steps: Steps,
    ground: Ground,
    manifest: SignedManifest,
    evidence: Evidence,
    components: tuple[Component, ...],
    request: decide.Request,
) -> Subject:
    """Step 11: no standing rule matches."""
    subject = subject_of(manifest, evidence.counting, components, request.provided)
    check_rules(ground.revocations.rules, subject)
    steps.passed(11, lambda: f"{len(ground.revocations.rules.rules)} in force, none matches")
    return subject
