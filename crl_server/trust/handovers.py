"""What a handover makes of the policy: text in, text out. The old text's comments and order stay.

A principal outlives its key: a new key takes the old one's place under the same name, and the old one stays known for
what it signed. A plugin's former owner stays known for the artifacts that are accepted, and for no other.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import tomlkit
from tomlkit.exceptions import TOMLKitError

from verifier.errors import Refused, UsageError
from verifier.formats.policy import Policy
from verifier.formats.text import Digest, Name, PluginId
from verifier.signatures.keys import PublicKey

Status = Literal["retired", "revoked"]
Edit = Callable[[Any], None]


def with_new_key(text: str, name: Name, new: PublicKey, status: Status, accepted: Sequence[Digest]) -> str:
    """The policy in which a principal signs with another key.

    Args:
        text: ``policy.toml``, of which a policy in force was signed.
        name: the principal.
        new: its new key.
        status: what becomes of the old key.
        accepted: the artifacts for which the old key still counts.

    Raises:
        UsageError: ``usage.configuration``: the text cannot be edited safely.
    """

    def edit(policy: Any) -> None:
        principal = policy["principals"][name]
        former = {"key": str(principal["key"]), "status": status, "accepted": [str(digest) for digest in accepted]}
        principal["former"] = [*_plain(principal.get("former", [])), former]
        principal["key"] = str(new.id)
        policy.setdefault("keys", {})[str(new.id)] = {"alg": new.entry.alg, "spki": new.entry.spki}

    return _edited(text, edit)


def with_new_owner(text: str, plugin: PluginId, giver: Name, taker: Name, accepted: Sequence[Digest]) -> str:
    """The policy in which a plugin has another owner; of the one before, only ``accepted`` counts.

    Raises:
        UsageError: ``usage.configuration``: the text cannot be edited safely.
    """

    def edit(policy: Any) -> None:
        rule = policy["plugins"][plugin]
        others = [str(name) for name in rule["owners"] if name not in (giver, taker)]
        rule["owners"] = [*others, str(taker)]
        kept = [entry for entry in _plain(rule.get("former_owners", [])) if entry["owner"] not in (giver, taker)]
        rule["former_owners"] = [*kept, {"owner": str(giver), "accepted": [str(digest) for digest in accepted]}]

    return _edited(text, edit)


def check_key(policy: Policy, name: Name, old: Digest | None, new: PublicKey) -> None:
    """Demand that a principal of the policy in force may be given another key.

    Args:
        policy: the policy in force.
        name: the principal.
        old: the key that gives it away; None when nobody asks.
        new: the new key.

    Raises:
        Refused: ``handover.stale`` when the policy is not as the handover has it, ``handover.same-key``.
    """
    principal = policy.principals.get(name)
    if principal is None or principal.mode != "key" or principal.status != "active":
        raise Refused("handover.stale", f"the policy has no principal {name!r} with a key that is active")
    if old not in (None, principal.key):
        raise Refused(
            "handover.stale", f"principal {name!r} signs with another key by now", found=str(principal.key),
            expected=str(old),
        )  # fmt: skip
    user = policy.principal_of(new.id)
    if user is not None or new.id in {head.key for head in policy.head_keys}:
        raise Refused("handover.same-key", "the new key is in use already", found=f"{new.id} of {user or 'the head'!r}")


def check_owner(policy: Policy, plugin: PluginId, giver: Name, taker: Name, keys: tuple[Digest, Digest] | None) -> None:
    """Demand that a plugin of the policy in force may pass to another owner.

    Args:
        policy: the policy in force.
        plugin: the plugin.
        giver: its owner.
        taker: its next owner, a principal of the policy.
        keys: the keys that gave and took; None when nobody asks.

    Raises:
        Refused: ``handover.stale``, ``roles.not-disjoint``.
    """
    rule, principals = policy.plugins.get(plugin), policy.principals
    if rule is None or giver not in rule.owners or taker in rule.owners:
        raise Refused("handover.stale", f"{plugin!r} does not pass from {giver!r} to {taker!r} under this policy")
    if taker not in principals or principals[taker].status != "active":
        raise Refused(
            "handover.stale", f"the policy has no principal {taker!r} with a key that is active",
            todo="Name them first: loadlock trust add-principal.",
        )  # fmt: skip
    if keys is not None:
        for name, key in zip((giver, taker), keys, strict=True):
            if principals[name].key != key or principals[name].status != "active":
                raise Refused(
                    "handover.stale", f"{name!r} signed with a key that is not theirs now", found=key,
                    expected=str(principals[name].key),
                )  # fmt: skip
    if taker in (*rule.builders, *rule.certifiers):
        raise Refused(
            "roles.not-disjoint", f"{taker!r} builds or certifies {plugin!r}", expected="an owner who does neither"
        )


def _edited(text: str, edit: Edit) -> str:
    """The text after an edit, if what it says then is what the edit makes of its values, and nothing else."""
    expected = tomllib.loads(text)
    edit(expected)
    try:
        document = tomlkit.parse(text)
        edit(document)
        after = tomlkit.dumps(document)
        found = tomllib.loads(after)
    except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise _by_hand(type(error).__name__) from error
    if found != expected:
        raise _by_hand("it would say something else as well")
    return after


def _by_hand(found: str) -> UsageError:
    return UsageError(
        "usage.configuration", "policy.toml is laid out in a way that is not safe to edit", found=found,
        todo="Edit it by hand as docs/spec/policy.md says, then run 'loadlock trust policy'.",
    )  # fmt: skip


def _plain(value: Any) -> Any:
    return copy.deepcopy(value.unwrap() if hasattr(value, "unwrap") else value)
