"""What a handover makes of the policy: only what it says, only while the policy is as it says, in any layout."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

import pytest
import tomlkit

from crl_server.trust import policies
from crl_server.trust.handovers import check_key, check_owner, with_new_key, with_new_owner
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import DAY, NOW, digest
from verifier.errors import LoadlockError
from verifier.formats.policy import Policy
from verifier.formats.text import Name, PluginId, Time, Version

HEAD, OLD, OTHER, NEW = (SigningKey.generate().public for _ in range(4))
A, B, PLUGIN = Name("team-a"), Name("team-b"), PluginId("p")


def text() -> str:
    made = policies.first_policy(Name("acme"), "production", Version("1.0"), HEAD, Time.of(NOW + DAY))
    made = policies.with_principal(made, A, OLD, None)
    made = policies.with_plugin(made, PLUGIN, [], [A], [], None)
    return policies.with_principal(made, B, OTHER, None)


def policy(of: str) -> Policy:
    return policies.to_sign(of, Name("acme"), 7, NOW)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        call()
    return caught.value.code


def test_a_handover_from_a_key_of_before_is_stale() -> None:
    check_key(policy(text()), A, OLD.id, NEW)
    assert code_of(lambda: check_key(policy(text()), A, OTHER.id, NEW)) == "handover.stale"
    assert code_of(lambda: check_key(policy(text()), Name("nobody"), None, NEW)) == "handover.stale"
    retired = text().replace(f'key = "{OLD.id}"', f'key = "{OLD.id}"\nstatus = "retired"')
    assert code_of(lambda: check_key(policy(retired), A, OLD.id, NEW)) == "handover.stale"
    for used in (OLD, OTHER, HEAD):
        assert code_of(lambda key=used: check_key(policy(text()), A, OLD.id, key)) == "handover.same-key"  # type: ignore[misc]


def test_a_handover_between_keys_of_before_is_stale() -> None:
    check_owner(policy(text()), PLUGIN, A, B, (OLD.id, OTHER.id))
    for keys in ((NEW.id, OTHER.id), (OLD.id, NEW.id), (OTHER.id, OLD.id)):
        assert code_of(lambda pair=keys: check_owner(policy(text()), PLUGIN, A, B, pair)) == "handover.stale"  # type: ignore[misc]
    assert code_of(lambda: check_owner(policy(text()), PluginId("q"), A, B, None)) == "handover.stale"
    assert code_of(lambda: check_owner(policy(text()), PLUGIN, B, A, None)) == "handover.stale"


def inline(of: str) -> str:
    """The same policy with principals and plugins in one line each, between other tables."""
    values = tomllib.loads(of)
    lines = [
        f"{name} = {_toml(values.pop(name))}" for name in ("profile", "host_api", "valid_for", "principals", "plugins")
    ]
    rest = of[of.index("[[head_keys]]") :]
    for name in ("principals", "plugins"):
        blocks = rest.split("\n\n")
        rest = "\n\n".join(block for block in blocks if not block.startswith(f"[{name}"))
    return "\n".join(lines) + "\n\n" + rest + "\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(inner)}' for key, inner in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize(
    "layout", [text, lambda: inline(text()), lambda: text().replace('["team-a"]', '[\n  # us\n  "team-a",\n]')]
)
def test_in_any_layout_it_says_the_same(layout: Callable[[], str]) -> None:
    before = layout()
    rotated = with_new_key(before, A, NEW, "retired", [digest(1)])
    found = policy(rotated).principals[A]
    assert (found.key, found.former[0].key, found.former[0].accepted) == (NEW.id, OLD.id, (digest(1),))
    passed = policy(with_new_owner(rotated, PLUGIN, A, B, [digest(2)])).plugins[PLUGIN]
    assert (passed.owners, passed.former_owners[0].owner, passed.former_owners[0].accepted) == ((B,), A, (digest(2),))
    # Nothing else has changed.
    assert policy(rotated).principals[B] == policy(before).principals[B]
    assert policy(rotated).tiers == policy(before).tiers


def test_a_text_that_would_say_something_else_is_left_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tomlkit.dumps
    monkeypatch.setattr(tomlkit, "dumps", lambda document: real(document) + "\n[tiers.more]\n")
    assert code_of(lambda: with_new_key(text(), A, NEW, "retired", [])) == "usage.configuration"
    monkeypatch.setattr(tomlkit, "dumps", lambda document: "not TOML")
    assert code_of(lambda: with_new_key(text(), A, NEW, "retired", [])) == "usage.configuration"
