"""Whether a plugin that already runs may go on, judged again whenever the revocation list or the policy changes.

Expiry is not asked: a certification, manifest or policy that ends stops new loads, not running plugins.
"""

from __future__ import annotations

from verifier.authority import check_rules
from verifier.decide import check_lists
from verifier.errors import PluginRevoked, Refused
from verifier.evidence import why_not
from verifier.judgements import check_dependencies_not_listed, check_not_listed
from verifier.verify import Ground, VerifiedPlugin


def check_standing(plugin: VerifiedPlugin, ground: Ground) -> None:
    """Return when ``plugin`` may go on under ``ground``.

    Args:
        plugin: the facts it was loaded on.
        ground: the trust and the revocation list that are in force now.

    Raises:
        PluginRevoked: ``plugin.revoked``; ``found`` says why, and the cause is the refusal of a new load.
    """
    try:
        check_not_listed(ground.revocations, plugin.artifact_digest)
        check_dependencies_not_listed(ground.revocations, plugin.manifest)
        check_rules(ground.revocations.rules)
        _check_policy(plugin, ground)
    except Refused as refusal:
        raise PluginRevoked(
            "plugin.revoked",
            f"the plugin {plugin.plugin_id} {plugin.version} may no longer run",
            found=f"[{refusal.code}] {refusal.what}: {refusal.found}",
        ) from refusal


def _check_policy(plugin: VerifiedPlugin, ground: Ground) -> None:
    policy = ground.trust.policy
    rule = policy.plugins.get(plugin.plugin_id)
    if rule is None:
        raise Refused("decision.unknown-plugin", "the policy no longer knows the plugin")
    check_lists(plugin.manifest, plugin.artifact_digest, rule, policy)
    for kind, signer in plugin.signers.items():
        principal = policy.principals.get(signer)
        if principal is None:
            raise Refused("signature.unknown-signer", "the policy no longer names a signer", found=signer)
        aside = why_not(kind, signer, principal, rule, plugin.artifact_digest)
        if aside is not None:
            raise Refused(aside.code, "a signature no longer counts", found=aside.reason)
