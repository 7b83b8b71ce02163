"""Whether a plugin that already runs may go on, judged again whenever the revocation list or the policy changes.

What was taken back stops it: the artifact, a signer or its key, the certification, the tier, what the policy admits,
how severe a known vulnerability may be included, a rebuilder without whom too few have built it. What merely ends does
not: expiry of a certification, manifest, audit, waiver, policy or list stops new loads. Nor does what the policy newly
asks for as evidence, which a running plugin cannot bring.
"""

from __future__ import annotations

from verifier.errors import PluginRevoked, Refused
from verifier.formats.policy import TIERS, PluginRule, Policy
from verifier.formats.statement import CERTIFICATION, PROVENANCE
from verifier.judging import decide
from verifier.judging.evidence import why_not
from verifier.judging.findings import check_severity
from verifier.judging.judgements import check_dependencies_not_listed, check_not_listed
from verifier.judging.verify import Ground, VerifiedPlugin
from verifier.revocation.rulebook import check_rules
from verifier.signatures.signatory import NOBODY_VOUCHES


def check_standing(plugin: VerifiedPlugin, ground: Ground, request: decide.Request = decide.ANY) -> None:
    """Return when ``plugin`` may go on under ``ground``.

    Args:
        plugin: the facts it was loaded on.
        ground: the trust and the revocation list that are in force now.
        request: what the host wants of it.

    Raises:
        PluginRevoked: ``plugin.revoked``; ``found`` says why, and the cause is the refusal of a new load.
    """
    try:
        check_not_listed(ground.revocations, plugin.artifact_digest)
        check_dependencies_not_listed(ground.revocations, plugin.manifest)
        check_rules(ground.revocations.rules, plugin.subject)
        _check_policy(plugin, ground.trust.policy, request)
    except Refused as refusal:
        raise _revoked(plugin, f"[{refusal.code}] {refusal.what}: {refusal.found}") from refusal
    except Exception as error:  # what cannot be judged may not go on
        raise _revoked(plugin, f"[internal.unexpected] it could not be judged: {type(error).__name__}") from error


def _check_policy(plugin: VerifiedPlugin, policy: Policy, request: decide.Request) -> None:
    rule = policy.plugins.get(plugin.plugin_id)
    if rule is None:
        raise Refused("decision.unknown-plugin", "the policy no longer knows the plugin", found=plugin.plugin_id)
    for kind, signer in plugin.signers.items():
        principal = policy.principals.get(signer)
        if principal is None:
            raise Refused("signature.unknown-signer", "the policy no longer names a signer", found=repr(str(signer)))
        aside = why_not(kind, signer, plugin.made.get(kind, NOBODY_VOUCHES), principal, rule, plugin.artifact_digest)
        if aside is not None:
            raise Refused(aside.code, "a signature no longer counts", found=aside.reason)
    _check_tier(plugin, policy)
    _check_builders(plugin, policy, rule)
    decide.check_assurance(plugin.assurance, plugin.tier, policy)
    decide.check(plugin.manifest, plugin.artifact_digest, plugin.tier, rule, policy, request)


def _check_tier(plugin: VerifiedPlugin, policy: Policy) -> None:
    if plugin.tier not in policy.tiers:
        raise Refused("certification.tier", "the policy no longer has the plugin's tier", found=plugin.tier)
    certifier, certification = plugin.signers.get(CERTIFICATION), plugin.statements.get(CERTIFICATION)
    if certification in policy.withdrawn:
        raise Refused("certification.withdrawn", "the certification was withdrawn", found=str(certification))
    if certifier is not None and TIERS.index(plugin.tier) > TIERS.index(policy.certifiers[certifier].max_tier):
        raise Refused("certification.tier", f"{certifier!r} may no longer certify this tier", found=plugin.tier)
    check_severity(plugin.severity, policy.tiers[plugin.tier])


def _check_builders(plugin: VerifiedPlugin, policy: Policy, rule: PluginRule) -> None:
    """As many still vouch for the build as the tier demands, or as many as did when it was loaded."""
    counted = int(PROVENANCE in plugin.signers)
    then = counted + len(plugin.rebuilders)
    for name, rebuilt in plugin.rebuilders.items():
        principal = policy.principals.get(name)
        if name in rule.rebuilders and principal is not None:
            counted += why_not(PROVENANCE, name, rebuilt.made, principal, rule, plugin.artifact_digest) is None
    needed = min(policy.tiers[plugin.tier].builders, then)
    if counted < needed:
        raise Refused(
            "provenance.threshold", "fewer principals vouch for the build than the tier demands",
            found=f"{counted} of the {then} that there were", expected=f"{needed}",
        )  # fmt: skip


def _revoked(plugin: VerifiedPlugin, why: str) -> PluginRevoked:
    what = f"the plugin {plugin.plugin_id} {plugin.version} may no longer run"
    return PluginRevoked("plugin.revoked", what, found=why)
