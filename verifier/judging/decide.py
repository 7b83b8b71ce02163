"""The decision, step 12: verified facts against the policy and against what the host asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from msgspec.structs import force_setattr

from verifier.errors import Refused, UsageError
from verifier.formats.manifest import CLASSIFICATIONS, ISOLATIONS, Classification, Isolation, SignedManifest
from verifier.formats.policy import ASSURANCES, TIERS, Assurance, PluginRule, Policy, TierName, TierRule
from verifier.formats.text import Digest, Time, Version
from verifier.judging.dependencies import Offers, Provided
from verifier.judging.findings import Findings
from verifier.revocation.revocation_list import Freshness
from verifier.value import Value

EARLY = timedelta(days=14)
"""How long before an expiry a warning is given."""


Adapter = Callable[[str, str, Any], Any]
"""Makes of what an entry point (its group, its name, the object) leads to what the host's own API has in its place."""


class Request(Value, frozen=True):
    """What a host wants to do with a plugin.

    Attributes:
        tier: the least trusted tier that it accepts.
        classification: of the data that the run will touch.
        hermetic: whether the run has to be hermetic.
        isolations: what this host can do; a tier that needs another is refused.
        provided: looks up the version of a distribution in the host's environment; None where there is no host.
        offers: what the host's wheelhouse holds for a locked dependency; None where it has none.
        adapters: by older API version, what lets the host call plugins that take that and not its own.
        strict: whether whatever would be a warning refuses: for runs whose outcome is to be certified.

    Raises:
        UsageError: ``usage.configuration`` for a tier, classification, isolation or API version that does not exist.
    """

    tier: TierName = "untrusted"
    classification: Classification = "public"
    hermetic: bool = False
    isolations: frozenset[Isolation] = frozenset({"in-process"})
    provided: Provided | None = None
    offers: Offers | None = None
    adapters: Mapping[str, Adapter] = {}
    strict: bool = False

    def __post_init__(self) -> None:
        known = (({self.tier}, TIERS), ({self.classification}, CLASSIFICATIONS), (self.isolations, ISOLATIONS))
        for asked, vocabulary in known:
            unknown = sorted(repr(word) for word in asked if word not in vocabulary)
            if unknown:
                raise UsageError(
                    "usage.configuration",
                    "the host asks for what does not exist",
                    found=", ".join(unknown),
                    expected=", ".join(vocabulary),
                )
        try:
            adapted = {Version(text): adapter for text, adapter in self.adapters.items()}
        except ValueError as error:
            raise UsageError(
                "usage.configuration", "the host adapts what is no API version", found=str(error)[:200]
            ) from None
        force_setattr(self, "adapters", MappingProxyType(adapted))


ANY = Request()
"""Whatever the policy allows on a host that runs plugins in process."""
ADMISSION = Request(isolations=frozenset(ISOLATIONS))
"""What a registry asks when it admits a plugin: it runs nothing itself."""


def check(
    manifest: SignedManifest, artifact: Digest, tier: TierName, rule: PluginRule, policy: Policy, request: Request
) -> None:
    """Allow the plugin at ``tier``, or refuse.

    Raises:
        Refused: a ``decision.*`` code.
    """
    check_lists(manifest, artifact, rule, policy)
    _check_tier(manifest, tier, policy.tiers[tier], request)
    _check_covenant(manifest, rule, policy.tiers[tier])
    _check_request(manifest, request)


def check_assurance(assurance: Assurance, tier: TierName, policy: Policy) -> None:
    """The tier admits how a plugin's files are held against what was attested; running plugins are asked again.

    Raises:
        Refused: ``installed.assurance``.
    """
    least = policy.tiers[tier].assurance
    if ASSURANCES.index(assurance) < ASSURANCES.index(least):
        raise Refused(
            "installed.assurance",
            f"tier {tier!r} does not admit plugins that an installer has unpacked",
            found=assurance,
            expected=f"{least} at least",
        )


def check_lists(manifest: SignedManifest, artifact: Digest, rule: PluginRule, policy: Policy) -> None:
    """The policy's deny and allow lists, and its lowest version; running plugins are held against them again.

    What is denied is denied also as a dependency that somebody else's plugin locks: it would run all the same.

    Raises:
        Refused: ``decision.denied`` or ``decision.min-version``.
    """
    if manifest.plugin_id in policy.denied_plugins:
        raise Refused("decision.denied", f"the policy denies the plugin {manifest.plugin_id!r}")
    if artifact in policy.denied_artifacts:
        raise Refused("decision.denied", "the policy denies this artifact", found=artifact)
    for locked in manifest.dependencies:
        if locked.sha256 in policy.denied_artifacts or locked.name.replace("-", "_") in policy.denied_plugins:
            raise Refused(
                "decision.denied", "the policy denies a dependency of this plugin",
                found=f"{locked.name} {locked.version}, {locked.sha256}",
            )  # fmt: skip
    if rule.artifacts is not None and artifact not in rule.artifacts:
        raise Refused("decision.denied", "the artifact is not on the plugin's allow-list", found=artifact)
    if rule.min_version is not None and manifest.version.order < rule.min_version.order:
        raise Refused(
            "decision.min-version",
            "the release is older than the policy allows",
            found=manifest.version,
            expected=f"{rule.min_version} or newer",
        )


def warnings(
    manifest: SignedManifest,
    certified_until: Time | None,
    findings: Findings,
    policy: Policy,
    freshness: Freshness,
    now: datetime,
) -> tuple[str, ...]:
    """What an operator should know although the plugin is allowed."""
    found = []
    if not freshness.fresh:
        found.append("the revocation list has expired; the tier's grace is running")
    if manifest.maturity in ("alpha", "deprecated"):
        found.append(f"the plugin's maturity is {manifest.maturity}")
    if findings.severity is not None:
        found.append(f"a dependency has a known vulnerability, the worst of them {findings.severity}")
    expiries = [
        ("the policy", policy.valid_until),
        ("the manifest", manifest.expires_at),
        ("the certification", certified_until),
    ]
    expiries += [(f"the waiver of the check {c.name!r}", c.waiver.expires) for c in findings.waived if c.waiver]
    for what, moment in expiries:
        if moment is not None and moment.instant - now < EARLY:
            found.append(f"{what} expires at {moment}")
    return tuple(found)


def check_strict(warnings: Sequence[str], request: Request) -> None:
    """Where the host asks for it, nothing is allowed of which an operator would be warned.

    Raises:
        Refused: ``decision.strict``.
    """
    if request.strict and warnings:
        raise Refused("decision.strict", "a strict run admits no plugin with a warning", found="; ".join(warnings))


def _check_tier(manifest: SignedManifest, tier: TierName, rule: TierRule, request: Request) -> None:
    if TIERS.index(tier) < TIERS.index(request.tier):
        raise Refused(
            "decision.tier", "the plugin is trusted less than the host asks for", found=tier,
            expected=f"{request.tier} at least",
        )  # fmt: skip
    if rule.isolation not in request.isolations:
        raise Refused(
            "decision.isolation",
            f"tier {tier!r} needs an isolation that this host does not have",
            found=", ".join(sorted(request.isolations)),
            expected=rule.isolation,
        )
    if ISOLATIONS.index(rule.isolation) < ISOLATIONS.index(manifest.isolation):
        raise Refused(
            "decision.isolation",
            "the tier isolates less than the plugin's owner accepts",
            found=rule.isolation,
            expected=f"{manifest.isolation} at least",
        )
    if manifest.maturity not in rule.maturities:
        raise Refused(
            "decision.maturity", f"tier {tier!r} does not admit this maturity", found=manifest.maturity,
            expected=", ".join(rule.maturities),
        )  # fmt: skip


def _check_covenant(manifest: SignedManifest, rule: PluginRule, tier: TierRule) -> None:
    for egress in manifest.allowed_egress:
        if rule.egress is not None and not any(pattern.covers(egress.host) for pattern in rule.egress):
            raise Refused(
                "decision.egress",
                "the plugin declares egress that the policy does not admit",
                found=egress.host,
                expected=", ".join(rule.egress) or "none",
            )
    for capability in manifest.capabilities:
        if tier.capabilities is not None and capability.name not in tier.capabilities:
            raise Refused(
                "decision.capability",
                "the plugin declares a capability that its tier does not admit",
                found=capability.name,
                expected=", ".join(tier.capabilities) or "none",
            )


def _check_request(manifest: SignedManifest, request: Request) -> None:
    if CLASSIFICATIONS.index(request.classification) > CLASSIFICATIONS.index(manifest.max_classification):
        raise Refused(
            "decision.classification",
            "the run's data is classified higher than the plugin may touch",
            found=request.classification,
            expected=f"{manifest.max_classification} at most",
        )
    if request.hermetic and not manifest.hermetic_compatible:
        raise Refused("decision.hermetic", "the run is hermetic and the plugin is not hermetic-compatible")
