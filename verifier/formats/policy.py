"""The trust policy: who may say what of which plugin, and what each tier demands.

People write it as TOML; the signed form is this JSON, a TUF target under the offline policy key. Empty means no.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from verifier.errors import Refused
from verifier.formats.dsse import decode_base64
from verifier.formats.identity import Identity
from verifier.formats.policy_terms import (
    ASSURANCES,
    TIERS,
    Assurance,
    CertifierRule,
    FormerKey,
    FormerOwner,
    HeadKey,
    Key,
    LayoutRule,
    PluginRule,
    Principal,
    Profile,
    Requirement,
    SourceRule,
    TierName,
    TierRule,
    TrustedRootRule,
    Waiver,
)
from verifier.formats.strict_json import Document, convert, dumps, parse
from verifier.formats.text import Digest, Name, PluginId, Text, Time, Version, caseless

__all__ = [
    "ASSURANCES",
    "MAX_POLICY", "MAX_TRUSTED_ROOTS", "TIERS", "Assurance", "CertifierRule", "FormerKey", "FormerOwner", "HeadKey",
    "Key", "LayoutRule", "PluginRule", "Policy", "Principal", "Profile", "Requirement", "SourceRule", "TierName",
    "TierRule", "TrustedRootRule", "Waiver", "check_policy", "dump_policy", "parse_policy", "policy_of",
]  # fmt: skip

MAX_POLICY = 4 * 1024 * 1024
"""Size cap of a policy in bytes."""

MAX_TRUSTED_ROOTS = 8
"""How many Sigstores a policy may name."""

MAX_WAIVERS = 100
"""How many waivers a policy may hold."""
LONGEST_WAIVER = timedelta(days=7)
"""How long a waiver may lift what it lifts."""

EXCEPTIONS: frozenset[Profile] = frozenset({"development", "migration"})
"""Profiles under which something may be loaded that nobody attested, until a date in the policy."""

# msgspec's convert calls no hook for the keys of a mapping: the policy gives them their type itself.
_KEYED_BY: dict[str, type[Text]] = {
    "keys": Digest, "principals": Name, "plugins": PluginId, "certifiers": Name, "trusted_roots": Name,
}  # fmt: skip


class Policy(Document, frozen=True, kw_only=True):
    """The whole policy; see ``docs/spec/policy.md``."""

    v: Annotated[int, Meta(ge=1, le=1000)]
    deployment: Name
    version: Annotated[int, Meta(ge=1, le=2**31)]
    valid_until: Time
    profile: Profile
    host_api: Version
    keys: Annotated[dict[Digest, Key], Meta(max_length=10_000)]
    head_keys: Annotated[tuple[HeadKey, ...], Meta(min_length=1, max_length=10)]
    principals: Annotated[dict[Name, Principal], Meta(max_length=10_000)]
    plugins: Annotated[dict[PluginId, PluginRule], Meta(max_length=100_000)]
    certifiers: Annotated[dict[Name, CertifierRule], Meta(max_length=10_000)]
    tiers: Annotated[dict[TierName, TierRule], Meta(min_length=1)]
    trusted_roots: Annotated[dict[Name, TrustedRootRule], Meta(max_length=MAX_TRUSTED_ROOTS)] = {}
    denied_plugins: tuple[PluginId, ...] = ()
    denied_artifacts: tuple[Digest, ...] = ()
    withdrawn: tuple[Digest, ...] = ()
    exception_until: Time | None = None
    waivers: Annotated[tuple[Waiver, ...], Meta(max_length=MAX_WAIVERS)] = ()

    def __post_init__(self) -> None:
        for field, type_ in _KEYED_BY.items():
            try:
                keyed = {type_(key): value for key, value in getattr(self, field).items()}
            except ValueError as error:
                raise ValueError(f"{field}: {error}") from None
            msgspec.structs.force_setattr(self, field, keyed)

    def principal_of(self, key: Digest) -> Name | None:
        """The one principal that signs with ``key``, or did before, if any."""
        return next((name for name, principal in self.principals.items() if principal.standing_of(key)), None)


def parse_policy(data: bytes) -> Policy:
    """Read a policy out of verified TUF metadata's target.

    Raises:
        FormatError: any ``format.*`` code.
        Refused: ``trust.policy`` when it contradicts itself, ``trust.unsupported`` when it asks for what this
            release cannot check.
    """
    policy = parse(data, Policy, limit=MAX_POLICY, what="policy")
    check_policy(policy)
    return policy


def policy_of(value: Any) -> Policy:
    """Read a policy out of plain values, as TOML gives them; raises as :func:`parse_policy`."""
    policy = convert(value, Policy, what="policy")
    check_policy(policy)
    return policy


def dump_policy(policy: Policy) -> bytes:
    """Write a policy; the inverse of :func:`parse_policy`."""
    return dumps(policy)


def check_policy(policy: Policy) -> None:
    """Refuse a policy whose parts do not fit together.

    Raises:
        Refused: ``trust.policy`` or ``trust.unsupported``.
    """
    _check_keys(policy)
    _check_principals(policy)
    _check_roles(policy)
    _check_bounds(policy)
    _check_layouts(policy)
    _check_waivers(policy)
    _check_supported(policy)


def _check_keys(policy: Policy) -> None:
    for name, key in policy.keys.items():
        digest = "sha256:" + hashlib.sha256(decode_base64(key.spki, "policy key")).hexdigest()
        if digest != name:
            raise Refused("trust.policy", "a key's id is not the sha256 of its SPKI", found=name, expected=digest)
    for head_key in policy.head_keys:
        _known_key(policy, head_key.key, "a head key")
    if len({head_key.key for head_key in policy.head_keys}) != len(policy.head_keys):
        raise Refused("trust.policy", "a head key is named twice", expected="one end for each key")


def _check_principals(policy: Policy) -> None:
    owners = {head_key.key: "the revocation head" for head_key in policy.head_keys}
    identities: dict[tuple[str, ...], Name] = {}
    for name, principal in policy.principals.items():
        if (principal.key is None) != (principal.mode == "keyless"):
            raise Refused("trust.policy", f"principal {name!r} of mode {principal.mode!r} has {_key_of(principal)}")
        if principal.mode == "keyless":
            who = _check_keyless(policy, name, principal).who
            if identities.setdefault(who, name) != name:
                raise Refused(
                    "trust.policy", f"principal {name!r} shares its identity with {identities[who]!r}",
                    found=", ".join(who), expected="another issuer, repository or workflow, or another person",
                )  # fmt: skip
        elif principal.identity or principal.root or principal.not_after:
            raise Refused(
                "trust.policy", f"principal {name!r} is of mode 'key' and has a field of mode 'keyless'",
                expected="a key with its status: nobody vouches for the time at which a key was used",
            )  # fmt: skip
        for key in principal.keys:
            _known_key(policy, key, f"principal {name!r}")
            if key in owners:
                raise Refused(
                    "trust.policy",
                    f"principal {name!r} shares its key with {owners[key]}",
                    expected="a key of its own for each",
                )
            owners[key] = f"principal {name!r}"


def _check_keyless(policy: Policy, name: Name, principal: Principal) -> Identity:
    identity = principal.identity
    if identity is None or (principal.workflow and principal.person):
        raise Refused("trust.policy", f"principal {name!r} needs one identity", expected="'workflow' or 'person'")
    if principal.root not in policy.trusted_roots:
        raise Refused(
            "trust.policy", f"principal {name!r} names no trusted root of this policy", found=repr(principal.root),
            expected="one of 'trusted_roots'",
        )  # fmt: skip
    return identity


def _key_of(principal: Principal) -> str:
    return "no key" if principal.key is None else "a key"


def _known_key(policy: Policy, key: Digest, who: str) -> None:
    if key not in policy.keys:
        raise Refused("trust.policy", f"{who} names a key that is not in 'keys'", found=key)


def _check_roles(policy: Policy) -> None:
    for plugin, rule in policy.plugins.items():
        former = [entry.owner for entry in rule.former_owners]
        if len({*former, *rule.owners}) != len(former) + len(set(rule.owners)):
            raise Refused("trust.policy", f"an owner of {plugin!r} is named twice, or as a former one as well")
        for name in (*rule.builders, *rule.rebuilders, *rule.owners, *rule.certifiers, *former):
            if name not in policy.principals:
                raise Refused("trust.policy", f"plugin {plugin!r} names an unknown principal", found=name)
        for name in rule.rebuilders:
            if name in rule.builders:
                raise Refused(
                    "trust.policy", f"plugin {plugin!r} names a principal as builder and rebuilder", found=name,
                    expected="somebody else, since nobody confirms their own work",
                )  # fmt: skip
        for name in rule.certifiers:
            if name not in policy.certifiers:
                raise Refused(
                    "trust.policy", f"certifier {name!r} of {plugin!r} has no max_tier",
                    found=f"nothing of {name!r} under 'certifiers'",
                    expected=f'[certifiers.{name}] with max_tier = "core", "vetted" or "untrusted"',
                )  # fmt: skip


def _check_bounds(policy: Policy) -> None:
    """A bound on what is not demanded looks like protection and is none; a demand without an end never ages."""
    for tier, rule in policy.tiers.items():
        audited = rule.max_severity is not None or rule.max_audit_age is not None or rule.not_audited != "refuse"
        checked = bool(rule.waivable) or rule.max_waiver is not None
        if ("vulnerabilities" in rule.require) != (rule.max_audit_age is not None) or (
            audited and "vulnerabilities" not in rule.require
        ):
            raise Refused(
                "trust.policy", f"tier {tier!r} demands an audit of vulnerabilities and does not say how recent, "
                "or bounds one that it does not demand",
                expected="'vulnerabilities' in 'require', and with it 'max_audit_age'",
            )  # fmt: skip
        if bool(rule.waivable) != (rule.max_waiver is not None) or (checked and "test-result" not in rule.require):
            raise Refused(
                "trust.policy", f"tier {tier!r} admits waivers without saying until when, or without demanding checks",
                expected="'test-result' in 'require'; 'waivable' and 'max_waiver' both, or neither",
            )  # fmt: skip


def _check_layouts(policy: Policy) -> None:
    for plugin, rule in policy.plugins.items():
        if rule.layout is None:
            continue
        if rule.layout.owner not in rule.owners:
            raise Refused("trust.policy", f"the layout of {plugin!r} is by somebody who does not own it")
        if policy.principals[rule.layout.owner].mode != "key":
            raise Refused("trust.policy", f"the layout of {plugin!r} is by an owner without a key")
    for tier, demands in policy.tiers.items():
        if "layout" in demands.require and "certification" not in demands.require:
            raise Refused(
                "trust.policy", f"tier {tier!r} demands a layout and no certification",
                expected="both: hosts know of a layout through the certification that names it",
            )  # fmt: skip


def _check_waivers(policy: Policy) -> None:
    for waiver in policy.waivers:
        if caseless(waiver.asked_by) == caseless(waiver.approved_by):
            raise Refused(
                "trust.policy", f"waiver {waiver.id} was asked for and approved by one person",
                found=ascii(waiver.asked_by), expected="two people",
            )  # fmt: skip
        if not timedelta(0) < waiver.until.instant - waiver.granted.instant <= LONGEST_WAIVER:
            raise Refused(
                "trust.policy", f"waiver {waiver.id} is no short one", found=f"{waiver.granted} to {waiver.until}",
                expected=f"at most {LONGEST_WAIVER.days} days",
            )  # fmt: skip
    if len({waiver.id for waiver in policy.waivers}) != len(policy.waivers) or len(
        {(waiver.artifact, waiver.lifts) for waiver in policy.waivers}
    ) != len(policy.waivers):
        raise Refused("trust.policy", "a waiver stands twice", expected="one for each artifact and what it lifts")


def _check_supported(policy: Policy) -> None:
    if policy.v != 1:
        found = f"version {policy.v} of the format"
        raise Refused("trust.unsupported", "the policy asks for what this release cannot check", found=found)
    if (policy.profile in EXCEPTIONS) != (policy.exception_until is not None):
        raise Refused(
            "trust.policy", f"the profile {policy.profile!r} and the end of an exception do not go together",
            found=f"exception_until: {policy.exception_until}",
            expected="'exception_until' with the profiles 'development' and 'migration', and with no other",
        )  # fmt: skip
