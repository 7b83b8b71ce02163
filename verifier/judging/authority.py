"""The checks of who vouches for a plugin, steps 9 and 10: each looks at values that a signature covers, and raises.

:mod:`verifier.judging.verify` says in which order they run; :mod:`verifier.judging.judgements` has the steps before.
"""

from __future__ import annotations

from verifier.errors import Refused
from verifier.formats.manifest import SignedManifest, Source
from verifier.formats.policy import TIERS, PluginRule, Policy, TierName, TierRule
from verifier.formats.statement import (
    BUILD_TYPE,
    CERTIFICATION,
    LAYOUT,
    PROVENANCE,
    VULNERABILITIES,
    Certification,
    Provenance,
    parse_certification,
    parse_provenance,
    rebuild_in,
)
from verifier.formats.text import Name, Time
from verifier.judging.evidence import ROLE_OF, TITLES, Attested, Evidence
from verifier.judging.waivers import Waivers

SOURCE = "source"
"""The name of the one input of a build that is its source; what else went in cannot stand for it."""
RENEWABLE = frozenset({VULNERABILITIES})
"""What is about the world, and not about the artifact: a later one may stand in the place of the one certified."""


def tier_of(evidence: Evidence, policy: Policy) -> TierName:
    """Step 9: the tier that is claimed: the certification's, or the lowest without one.

    Raises:
        Refused: ``certification.missing`` when the policy has no tier for uncertified plugins,
            ``certification.tier`` for one that it does not know.
    """
    if CERTIFICATION not in evidence.attested and "untrusted" not in policy.tiers:
        evidence.require(CERTIFICATION)
    if CERTIFICATION not in evidence.attested:
        return "untrusted"
    claimed = _certification(evidence).terms.tier
    tier = next((tier for tier in TIERS if tier == claimed), None)
    if tier is None or tier not in policy.tiers:
        raise Refused(
            "certification.tier",
            "certified for a tier that the policy does not have",
            found=repr(claimed[:40]),
            expected=", ".join(policy.tiers),
        )
    return tier


def check_provenance(manifest: SignedManifest, evidence: Evidence, rule: PluginRule, tier: TierRule) -> None:
    """Step 9: the build's own account agrees with manifest and policy, and as many built it as the tier demands.

    Raises:
        Refused: a ``provenance.*`` code, or that of :meth:`Evidence.require`.
    """
    if "commit" in tier.require and manifest.source.commit is None:
        raise Refused("provenance.source", "the tier demands a source commit", found="none in the manifest")
    demanded = {"provenance", "commit"} & set(tier.require) or rule.source or tier.builders > 1 or evidence.rebuilds
    if PROVENANCE not in evidence.attested and not demanded:
        return
    provenance = parse_provenance(evidence.require(PROVENANCE).statement.predicate)
    build = provenance.buildDefinition
    if build.buildType != BUILD_TYPE:
        raise Refused("provenance.build-type", "unknown build type", found=ascii(build.buildType), expected=BUILD_TYPE)
    builder = provenance.runDetails.builder.id
    if builder != manifest.built_by:
        raise Refused(
            "provenance.builder", "built by another builder than the manifest says", found=ascii(builder),
            expected=ascii(manifest.built_by),
        )  # fmt: skip
    _check_source(provenance, manifest.source, rule)
    for rebuilder, attested in evidence.rebuilds.items():
        _check_rebuild(rebuilder, attested, manifest, rule)
    _check_threshold(evidence, tier)


def check_roles(evidence: Evidence, tier: TierRule) -> None:
    """Step 9: builder, rebuilders, owner and certifier are different principals, where the tier asks for it.

    Raises:
        Refused: ``roles.not-disjoint``.
    """
    if not tier.disjoint:
        return
    roles: dict[Name, str] = dict.fromkeys(evidence.rebuilds, "rebuilder")
    for kind, attested in evidence.attested.items():
        role, signer = ROLE_OF[kind], attested.signer
        if roles.setdefault(signer, role) != role:
            raise Refused(
                "roles.not-disjoint",
                "one principal acts in two roles",
                found=f"{signer!r} as {roles[signer]} and {role}",
                expected="different principals",
            )


def check_certification(evidence: Evidence, policy: Policy, tier: TierName, waivers: Waivers) -> Time | None:
    """Step 10: whoever certified may, for this tier, and certified exactly what is here.

    Returns:
        The certification's end; None where there is none.

    Raises:
        Refused: a ``certification.*`` code, or that of :meth:`Evidence.require`.
    """
    if CERTIFICATION not in evidence.attested and "certification" not in policy.tiers[tier].require:
        return None
    attested = evidence.require(CERTIFICATION)
    certification = _certification(evidence)
    if certification.verificationResult != "PASSED":
        raise Refused(
            "certification.failed",
            "the certifier's verdict is not PASSED",
            found=ascii(certification.verificationResult),
        )
    allowed = policy.certifiers[attested.signer].max_tier
    if TIERS.index(tier) > TIERS.index(allowed):
        raise Refused(
            "certification.tier", f"{attested.signer!r} may not certify this tier", found=tier,
            expected=f"{allowed} at most",
        )  # fmt: skip
    check_certified(certification.terms.expires, waivers)
    if attested.payload_digest in policy.withdrawn:
        raise Refused("certification.withdrawn", "the certification was withdrawn", found=attested.payload_digest)
    check_covenant(certification, evidence)
    return certification.terms.expires


def check_certified(until: Time | None, waivers: Waivers) -> None:
    """Step 10: the certification has not expired, or that is waived.

    Args:
        until: its end; None where nothing was certified, and nothing demands it.
        waivers: those in effect.

    Raises:
        Refused: ``certification.expired``.
    """
    if until is not None and waivers.now >= until.instant:
        late = Refused("certification.expired", "the certification has expired", found=until)
        waivers.lift("certification-expiry", late)


def check_layout(evidence: Evidence, rule: PluginRule, tier: TierRule) -> None:
    """Step 10: the certifier saw the plugin's layout fulfilled, where the tier demands a layout.

    Raises:
        Refused: ``certification.layout``.
    """
    if "layout" not in tier.require:
        return
    seen = {entry.digest.get("sha256") for entry in _certification(evidence).inputAttestations if entry.uri == LAYOUT}
    expected = None if rule.layout is None else rule.layout.payload.hex
    if expected is None or expected not in seen:
        raise Refused(
            "certification.layout", "the certification does not rest on the plugin's layout",
            found="a certification that names none" if not seen else "a certification that names another one",
            expected=f"sha256:{expected}" if expected else "a layout that the policy names for the plugin",
        )  # fmt: skip


def _certification(evidence: Evidence) -> Certification:
    return parse_certification(evidence.attested[CERTIFICATION].statement.predicate)


def check_covenant(certification: Certification, evidence: Evidence) -> None:
    """What was certified is all that counts here, and all that was certified is here: neither more nor less. An audit
    stands for the one that was certified, as :data:`RENEWABLE` says.

    Raises:
        Refused: ``certification.covenant``.
    """
    named = {entry.digest.get("sha256"): entry.uri for entry in certification.inputAttestations}
    present = {attested.payload_digest.hex for attested in evidence.counting}
    renewed = RENEWABLE.intersection(named.values(), evidence.attested)
    free = {CERTIFICATION, *renewed}
    for kind, attested in evidence.attested.items():
        if kind not in free and attested.payload_digest.hex not in named:
            raise Refused(
                "certification.covenant",
                f"what was certified is not this {TITLES[kind]}",
                found=attested.payload_digest,
                expected="one of the statements that the certification names",
            )
    for digest, kind in named.items():
        if kind in TITLES and kind not in renewed and digest not in present:
            raise Refused(
                "certification.covenant",
                f"the {TITLES[kind]} that was certified is not here, or does not count",
                expected=f"the statement with the payload sha256:{digest}",
            )


def _check_rebuild(rebuilder: Name, attested: Attested, manifest: SignedManifest, rule: PluginRule) -> None:
    """A rebuild is of the same source, by another builder, and gave these very bytes; any other word is against them.

    Which provenance it followed is not compared: a wheel that is attested again has a new one, and the same bytes.
    """
    provenance = parse_provenance(attested.statement.predicate)
    build = provenance.buildDefinition
    if build.buildType != BUILD_TYPE:
        raise Refused("provenance.build-type", "unknown build type", found=ascii(build.buildType), expected=BUILD_TYPE)
    if provenance.runDetails.builder.id == manifest.built_by:
        raise Refused(
            "provenance.rebuild", f"{rebuilder!r} rebuilt under the builder's own id", found=ascii(manifest.built_by),
            expected="another builder's",
        )  # fmt: skip
    _check_source(provenance, manifest.source, rule)
    rebuild = rebuild_in(provenance)
    verdict = None if rebuild is None else rebuild.verdicts.get(manifest.artifact_digest)
    if verdict != "bit-identical":
        raise Refused(
            "provenance.rebuild", f"{rebuilder!r} did not rebuild this wheel to the same bytes",
            found=verdict or "no verdict about this wheel", expected="bit-identical",
        )  # fmt: skip


def _check_threshold(evidence: Evidence, tier: TierRule) -> None:
    who = [evidence.require(PROVENANCE).signer, *evidence.rebuilds]
    if len(set(who)) >= tier.builders:
        return
    aside = [entry.reason for entry in evidence.set_aside if entry.predicate_type in (PROVENANCE, "")]
    raise Refused(
        "provenance.threshold", "fewer have built this wheel to the same bytes than the tier demands",
        found="; ".join([", ".join(repr(str(name)) for name in who), *(f"set aside: {reason}" for reason in aside)]),
        expected=f"{tier.builders} different principals: the builder, and rebuilders whom the policy names",
    )  # fmt: skip


def _check_source(provenance: Provenance, source: Source, rule: PluginRule) -> None:
    build = provenance.buildDefinition
    if source.commit is None and source.sdist is None:
        raise Refused("provenance.source", "the manifest names neither a commit nor an sdist", expected="one of them")
    inputs = [entry for entry in build.resolvedDependencies if entry.name == SOURCE]
    if len(inputs) != 1:
        raise Refused(
            "provenance.source", "the provenance must name one source", found=f"{len(inputs)} inputs named {SOURCE!r}"
        )
    sdist = None if source.sdist is None else source.sdist.hex
    for pinned, algorithm in ((source.commit, "gitCommit"), (sdist, "sha256")):
        found = inputs[0].digest.get(algorithm)
        if pinned is not None and pinned != found:
            raise Refused(
                "provenance.source", "built from another source than the manifest says",
                found=f"{algorithm} {found!a}", expected=f"{algorithm} {pinned}",
            )  # fmt: skip
    repository = build.externalParameters.repository
    if repository != source.repository:
        raise Refused(
            "provenance.source", "built from another repository than the manifest says", found=ascii(repository),
            expected=ascii(source.repository),
        )  # fmt: skip
    if rule.source is not None and repository != rule.source.repository:
        raise Refused(
            "provenance.source",
            "built from another repository than the policy says",
            found=ascii(repository),
            expected=ascii(rule.source.repository),
        )
