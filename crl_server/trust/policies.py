"""The policy as people write it, and as it is signed. Pure: text in, text or a policy out.

``policy.toml`` holds what a person decides; signing fills in the deployment, the next version and the end. Additions
are appended as tables, so that comments and order stay as their author left them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from verifier.errors import FormatError, Refused, UsageError
from verifier.formats.identity import IdentityFile
from verifier.formats.policy import MAX_POLICY, Policy, Profile, TierName, Waiver, policy_of
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest, Duration, Name, PluginId, Time, Version
from verifier.signatures.keys import PublicKey

MAX_VALIDITY = timedelta(days=30)
"""The longest time a policy may be valid."""
FILLED_IN = ("v", "deployment", "version", "valid_until")
"""What signing fills in, and nobody writes."""

_BY_HAND = "Edit policy.toml, then run 'loadlock trust policy'."
_HEADER = """\
# The trust policy of deployment "{deployment}": who may say what of which plugin, and what each tier demands.
# Every field is explained in docs/spec/policy.md. After a change: loadlock trust policy

profile = "{profile}"
host_api = "{host_api}"
valid_for = "P30D"

[[head_keys]]
key = "{head}"
not_after = "{until}"

[tiers.core]
isolation = "in-process"
require = ["provenance", "sbom", "certification"]
grace = "PT24H"

[tiers.vetted]
isolation = "process"
require = ["provenance", "sbom", "certification"]
grace = "PT24H"

[tiers.untrusted]
isolation = "sandbox"
require = ["provenance", "sbom"]
disjoint = false

[principals]

[plugins]

[certifiers]
"""


def first_policy(deployment: Name, profile: Profile, host_api: Version, head: PublicKey, until: Time) -> str:
    """The text of a new deployment's policy: three tiers, one head key, nobody named yet."""
    text = _HEADER.format(deployment=deployment, profile=profile, host_api=host_api, head=head.id, until=until)
    return text + _key(head)


def with_principal(text: str, name: Name, key: PublicKey, max_tier: TierName | None) -> str:
    """The policy with one more principal in key mode.

    Args:
        text: ``policy.toml``.
        name: the principal.
        key: its public key.
        max_tier: the highest tier it may certify for; None when it is no certifier.

    Raises:
        UsageError: ``usage.exists``.
        FormatError: ``text`` is malformed.
    """
    tables = _tables(text)
    if name in tables.get("principals", {}):
        raise UsageError("usage.exists", f"the policy has a principal {name!r} already", todo=_BY_HAND)
    if key.id not in tables.get("keys", {}):
        text += _key(key)
    text += f'\n[principals."{name}"]\nmode = "key"\nkey = "{key.id}"\n'
    if max_tier is not None:
        text += f'\n[certifiers."{name}"]\nmax_tier = "{max_tier}"\n'
    return text


def with_keyless_principal(text: str, name: Name, root: Name, identity: IdentityFile, max_tier: TierName | None) -> str:
    """The policy with one more keyless principal.

    Args:
        text: ``policy.toml``.
        name: the principal.
        root: the trusted root that vouches for it.
        identity: who it is.
        max_tier: the highest tier it may certify for; None when it is no certifier.

    Raises:
        UsageError: ``usage.exists``.
        FormatError: ``text`` is malformed.
    """
    if name in _tables(text).get("principals", {}):
        raise UsageError("usage.exists", f"the policy has a principal {name!r} already", todo=_BY_HAND)
    text += f'\n[principals."{name}"]\nmode = "keyless"\nroot = "{root}"\n'
    (kind, fields), *_ = ((kind, fields) for kind, fields in plain(identity).items() if kind != "note")
    text += f'\n[principals."{name}".{kind}]\n'
    # What is written so in JSON is written so in TOML: text of printable ASCII, and lists of it.
    text += "".join(f"{field} = {json.dumps(value)}\n" for field, value in fields.items())
    return text + (f'\n[certifiers."{name}"]\nmax_tier = "{max_tier}"\n' if max_tier is not None else "")


def with_trusted_root(text: str, name: Name, digest: Digest, *, timestamp: bool, replace: bool) -> str:
    """The policy with one more trusted root, or with another in the place of one.

    Args:
        text: ``policy.toml``.
        name: the trusted root's name.
        digest: of its content.
        timestamp: whether a timestamp authority's word is demanded.
        replace: put it in the place of the one of that name.

    Raises:
        UsageError: ``usage.exists``, or ``usage.arguments`` when there is none to replace.
        FormatError: ``text`` is malformed.
    """
    known = _tables(text).get("trusted_roots", {})
    if name in known and not replace:
        raise UsageError("usage.exists", f"the policy has a trusted root {name!r} already", todo="Say --replace.")
    if name not in known:
        if replace:
            raise UsageError("usage.arguments", f"the policy has no trusted root {name!r}", found=", ".join(known))
        demanded = "timestamp = true\n" if timestamp else ""
        return f'{text}\n[trusted_roots."{name}"]\ndigest = "{digest}"\n{demanded}'
    import tomlkit

    document: Any = tomlkit.parse(text)
    table = document["trusted_roots"][name]
    table["digest"] = str(digest)
    table["timestamp"] = timestamp
    return tomlkit.dumps(document)


def with_waivers(text: str, waivers: Sequence[Waiver]) -> str:
    """The policy with these waivers, in the place of those that it had.

    Raises:
        FormatError: ``text`` is malformed.
    """
    import tomlkit

    _tables(text)
    document: Any = tomlkit.parse(text)
    document.pop("waivers", None)
    text = tomlkit.dumps(document).rstrip("\n") + "\n"
    for waiver in waivers:
        text += "\n[[waivers]]\n"
        # What is written so in JSON is written so in TOML: text of printable characters, and numbers.
        text += "".join(f"{field} = {json.dumps(value)}\n" for field, value in plain(waiver).items())
    return text


def with_plugin(
    text: str,
    plugin: PluginId,
    builders: Sequence[Name],
    owners: Sequence[Name],
    certifiers: Sequence[Name],
    min_version: Version | None,
    *,
    rebuilders: Sequence[Name] = (),
) -> str:
    """The policy with one more plugin.

    Raises:
        UsageError: ``usage.exists``.
        FormatError: ``text`` is malformed.
    """
    if plugin in _tables(text).get("plugins", {}):
        raise UsageError("usage.exists", f"the policy has a plugin {plugin!r} already", todo=_BY_HAND)
    text += f'\n[plugins."{plugin}"]\n'
    roles = {"builders": builders, "rebuilders": rebuilders, "owners": owners, "certifiers": certifiers}
    for role, names in roles.items():
        if names or role != "rebuilders":  # most plugins have none, and their table says no word of it
            text += f"{role} = [{', '.join(_quoted(name) for name in names)}]\n"
    return text if min_version is None else text + f'min_version = "{min_version}"\n'


def with_head_key(text: str, old: Digest, new: PublicKey, until: Time) -> str:
    """The policy with another head key in place of ``old``.

    Raises:
        UsageError: ``usage.configuration`` when the old key's table cannot be told from the rest of the text.
        FormatError: ``text`` is malformed.
    """
    tables, entry = _tables(text), {"key": new.id, "not_after": str(until)}
    wanted = tables | {
        "head_keys": [entry if isinstance(one, dict) and one.get("key") == old else one for one in _heads(tables)]
    }
    keys = tables.get("keys", {})
    for place in re.finditer(re.escape(old), text):
        candidate = _with_entry(text, place.start(), old, new.id, until)
        if new.id not in keys:
            wanted["keys"] = {**keys, new.id: plain(new.entry)}
            candidate = candidate.rstrip("\n") + "\n" + _key(new)
        if wanted["head_keys"] != _heads(tables) and _means(candidate, wanted):
            return candidate
    raise UsageError(
        "usage.configuration", "the head key's table in policy.toml is laid out in a way that is not edited here",
        found=old, expected="a table [[head_keys]], or { … }, with key and not_after",
        todo="Replace the key there by hand, under 'head_keys' and 'keys'.",
    )  # fmt: skip


def _with_entry(text: str, place: int, old: Digest, new: Digest, until: Time) -> str:
    """The text with another key and end in the table around ``place``, however that is laid out."""
    start = max(text.rfind("[[", 0, place), text.rfind("{", 0, place), 0)
    end = min((at for at in (text.find("\n[", place), text.find("}", place)) if at >= 0), default=len(text))
    entry = text[start:end].replace(old, new)
    entry = re.sub(r"""(\bnot_after\s*=\s*)(?:"[^"\n]*"|'[^'\n]*')""", rf'\g<1>"{until}"', entry)
    return text[:start] + entry + text[end:]


def _heads(tables: dict[str, Any]) -> list[Any]:
    found = tables.get("head_keys")
    return found if isinstance(found, list) else []


def _means(text: str, tables: dict[str, Any]) -> bool:
    """Whether a text says exactly this: an edit is taken by what it comes to, not by how it was made."""
    try:
        return bool(_tables(text) == tables)
    except FormatError:
        return False


def to_sign(text: str, deployment: Name, version: int, now: datetime) -> Policy:
    """The policy to sign.

    Args:
        text: ``policy.toml``.
        deployment: the deployment's id.
        version: the version it will have.
        now: the moment of signing (aware, UTC).

    Raises:
        FormatError: any ``format.*`` code.
        Refused: ``trust.policy``, ``trust.unsupported``.
    """
    value = _tables(text)
    for field in FILLED_IN:
        if field in value:
            raise FormatError("format.schema", f"policy.toml must not state {field!r}: signing fills it in")
    until = Time.of(now + _validity(value.pop("valid_for", "P30D")))
    return policy_of(value | {"v": 1, "deployment": deployment, "version": version, "valid_until": until})


def check_head_key(policy: Policy, key: Digest, now: datetime) -> None:
    """Demand that the key which signs heads may go on doing so under a new policy.

    Raises:
        Refused: ``trust.policy``.
    """
    for head_key in policy.head_keys:
        if head_key.key == key and now < head_key.not_after.instant:
            return
    raise Refused(
        "trust.policy",
        "under this policy the server could not sign the revocation list",
        found=", ".join(f"{head_key.key} until {head_key.not_after}" for head_key in policy.head_keys),
        expected=f"{key} among 'head_keys', with a later 'not_after'",
    )


def _tables(text: str) -> dict[str, Any]:
    if len(text) > MAX_POLICY:
        raise FormatError("format.too-large", "policy.toml is too large", expected=f"at most {MAX_POLICY} bytes")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("format.syntax", "policy.toml is not TOML", found=str(error)[:200]) from None


def _validity(value: object) -> timedelta:
    try:
        span = Duration(value).span if isinstance(value, str) else None
    except ValueError:
        span = None
    if span is None or not timedelta(0) < span <= MAX_VALIDITY:
        raise FormatError(
            "format.schema", "policy.toml is wrong at 'valid_for'", found=repr(value)[:80], expected="up to 'P30D'"
        )
    return span


def _key(key: PublicKey) -> str:
    return f'\n[keys."{key.id}"]\nalg = "{key.alg}"\nspki = "{key.entry.spki}"\n'


def _quoted(name: str) -> str:
    return f'"{name}"'
