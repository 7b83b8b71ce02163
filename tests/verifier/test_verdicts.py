"""The cache of verdicts: what is remembered is what would be found again, and nobody else's word counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, code_of, set_of
from tests.verifier.kept_entries import POISONS, entries_of
from verifier.errors import Refused
from verifier.formats.statement import CERTIFICATION, CERTIFICATION_FIELD
from verifier.formats.strict_json import dumps
from verifier.formats.text import Time
from verifier.judging import verdicts, verify
from verifier.judging.steps import Outcome


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def steps(hosted: HostedDeployment, wheel: Path, cache: Path | None) -> list[Outcome]:
    """The steps that a new gate takes."""
    told: list[Outcome] = []
    hosted.gate(cache=cache).verify(wheel, told.append)
    return told


def was_known(hosted: HostedDeployment, wheel: Path, cache: Path | None) -> bool:
    return "weighed before" in steps(hosted, wheel, cache)[3].detail


def nothing_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    def weigh(*_: object) -> None:
        raise AssertionError("the set was weighed")

    monkeypatch.setattr(verify, "weigh", weigh)


def test_a_set_is_weighed_once(hosted: HostedDeployment, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = hosted.plugin()
    first = hosted.gate(cache=place).verify(wheel)
    nothing_is_weighed(monkeypatch)
    second = hosted.gate(cache=place).verify(wheel)
    for name in ("plugin_id", "tier", "signers", "made", "statements", "subject", "manifest", "warnings", "rebuilders"):
        assert getattr(first, name) == getattr(second, name), name
    assert code_of(lambda: hosted.gate().verify(wheel)) == "internal.unexpected", "without a cache it is weighed"


def test_a_refused_set_is_not_remembered(hosted: HostedDeployment, place: Path) -> None:
    wheel = hosted.plugin()
    honest = set_of(wheel).read_bytes()
    set_of(wheel).write_bytes(honest.replace(b'"sig":"', b'"sig":"AAAA', 1))
    assert code_of(lambda: hosted.gate(cache=place).verify(wheel)) == "signature.invalid"
    assert code_of(lambda: hosted.gate(cache=place).verify(wheel)) == "signature.invalid"
    set_of(wheel).write_bytes(honest)
    assert not was_known(hosted, wheel, place)


# -- what is judged again each time ------------------------------------------------------------------------------------


def revoke(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.revoke(wheel)


def rule(hosted: HostedDeployment, wheel: Path) -> None:
    match = {"id": "sample_plugin", "range": ">=0"}
    document = dumps({"v": 1, "rules": [{"id": "R1", "kind": "plugin", "match": match, "reason": "malicious"}]})
    hosted.sim.revoked.append("sha256:" + "0" * 64)  # a rule is an event, and an event has a number
    hosted.publish_head(rules={"sha256": hosted.sim.lists.keep("rules", document), "count": 1})


def deny(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.policy("denied_plugins", ["sample_plugin"])


def revoke_key(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.policy("principals.owner.status", "revoked")


def retire_key(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.policy("principals.owner.status", "retired")


def forget_owner(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.policy("plugins.sample_plugin.owners", ["other-owner"])


def forget_plugin(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.policy("plugins.sample_plugin", None)


def expire(hosted: HostedDeployment, wheel: Path) -> None:
    hosted.pass_time(timedelta(days=3))


def remove_set(hosted: HostedDeployment, wheel: Path) -> None:
    set_of(wheel).unlink()


def another_set(hosted: HostedDeployment, wheel: Path) -> None:
    lines = set_of(wheel).read_bytes().splitlines(keepends=True)
    set_of(wheel).write_bytes(b"".join(lines[1:]))


def another_wheel(hosted: HostedDeployment, wheel: Path) -> None:
    wheel.write_bytes(hosted.sim.wheel(files={"sample_plugin/more.py": b""}).data)


CHANGES: dict[str, tuple[Callable[[HostedDeployment, Path], None], str]] = {
    "the artifact is revoked": (revoke, "revoked.artifact"),
    "a standing rule matches": (rule, "rule.matched"),
    "the plugin is denied": (deny, "decision.denied"),
    "a key is revoked": (revoke_key, "signature.key-revoked"),
    "a key is retired": (retire_key, "signature.key-retired"),
    "the plugin has another owner": (forget_owner, "signature.wrong-signer"),
    "the plugin is forgotten": (forget_plugin, "decision.unknown-plugin"),
    "the list is stale": (expire, "list.stale"),
    "the set is gone": (remove_set, "set.missing"),
    "the manifest is left out": (another_set, "set.statement-missing"),
    "the wheel is another": (another_wheel, "subject.digest"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_judged_as_without_a_cache(hosted: HostedDeployment, place: Path, change: str) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    assert was_known(hosted, wheel, place)
    act, code = CHANGES[change]
    act(hosted, wheel)
    if change != "the list is stale":
        hosted.refresh()
    assert code_of(lambda: hosted.gate(cache=place).verify(wheel)) == code
    assert code_of(lambda: hosted.gate().verify(wheel)) == code


def test_an_expired_certification_is_refused_though_its_signature_is_known(
    hosted: HostedDeployment, place: Path
) -> None:
    wheel = hosted.sim.wheel()
    claims = hosted.claims(wheel)
    end = hosted.now + timedelta(hours=1)
    claims["certification"].predicate[CERTIFICATION_FIELD]["expires"] = Time.of(end)
    path = hosted.put(wheel, claims.sign())
    assert CERTIFICATION in hosted.gate(cache=place).verify(path).signers
    hosted.pass_time(timedelta(hours=2))
    assert code_of(lambda: hosted.gate(cache=place).verify(path)) == "certification.expired"


def test_any_other_policy_is_another_entry(hosted: HostedDeployment, place: Path) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    hosted.policy("version", hosted.sim.rules["version"] + 1)
    hosted.refresh()
    assert not was_known(hosted, wheel, place)
    assert was_known(hosted, wheel, place)


def test_other_code_is_another_entry(hosted: HostedDeployment, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    monkeypatch.setattr(verdicts, "this_code", lambda: b"other")
    assert not was_known(hosted, wheel, place)


# -- who else writes there ---------------------------------------------------------------------------------------------


def link(path: Path) -> None:
    other = path.with_name(f"{path.name}-other")
    path.rename(other)
    path.symlink_to(other)


@pytest.mark.parametrize("poison", [*POISONS, "a link"])
def test_what_was_done_to_entries_makes_them_none(hosted: HostedDeployment, place: Path, poison: str) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    for path in entries_of(place):
        POISONS.get(poison, link)(path)
    assert not was_known(hosted, wheel, place)


def test_an_entry_under_another_name_is_none(hosted: HostedDeployment, place: Path) -> None:
    """What another plugin may say is not put in the place of what this one may."""
    one, other = hosted.plugin(), hosted.plugin(name="other-plugin", version="2.0")
    hosted.gate(cache=place).verify(one)
    before = {path.name: path.read_bytes() for path in entries_of(place)}
    hosted.gate(cache=place).verify(other)
    after = [path for path in entries_of(place) if path.name not in before]
    for path in after:
        for content in before.values():
            path.write_bytes(content)
            assert hosted.gate(cache=place).verify(other).plugin_id == "other_plugin"


def test_entries_of_another_directory_are_none(hosted: HostedDeployment, place: Path, tmp_path: Path) -> None:
    wheel = hosted.plugin()
    for cache in (place, tmp_path / "foreign"):
        hosted.gate(cache=cache).verify(wheel)
    for path in entries_of(place):
        path.write_bytes((tmp_path / "foreign" / path.name).read_bytes())
    assert not was_known(hosted, wheel, place)


def test_an_old_entry_that_is_put_back_says_what_is_still_true(hosted: HostedDeployment, place: Path) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    kept = {path: path.read_bytes() for path in entries_of(place)}
    hosted.policy("principals.owner.status", "revoked")
    hosted.refresh()
    assert code_of(lambda: hosted.gate(cache=place).verify(wheel)) == "signature.key-revoked"
    for path, content in kept.items():
        path.write_bytes(content)
    assert code_of(lambda: hosted.gate(cache=place).verify(wheel)) == "signature.key-revoked"


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o770])
def test_a_directory_that_others_may_enter_is_not_used(hosted: HostedDeployment, place: Path, mode: int) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    assert was_known(hosted, wheel, place)
    place.chmod(mode)
    assert not was_known(hosted, wheel, place)


def test_a_directory_of_somebody_else_is_not_used(
    hosted: HostedDeployment, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    assert not was_known(hosted, wheel, place)


def test_without_a_cache_nothing_is_remembered(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    assert not was_known(hosted, wheel, None)
    assert not was_known(hosted, wheel, None)


def test_the_observer_of_the_steps_still_hears_of_a_refusal(hosted: HostedDeployment, place: Path) -> None:
    wheel = hosted.plugin()
    hosted.gate(cache=place).verify(wheel)
    hosted.policy("denied_plugins", ["sample_plugin"])
    hosted.refresh()
    told: list[Outcome] = []
    with pytest.raises(Refused):
        hosted.gate(cache=place).verify(wheel, told.append)
    assert (told[-1].step, told[-1].outcome) == (12, "refused")
