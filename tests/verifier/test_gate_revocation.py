"""Revocation of what already runs: every way in is closed, and the host is told once."""

from __future__ import annotations

import gc
import importlib
import runpy
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import force_setattr

from loadlock.testing.loopback import status
from tests.hosts import PACKAGE, HostedDeployment, code_of
from tests.simulator import Claims
from verifier.errors import LoadlockError, PluginRevoked, Refused, Unreachable
from verifier.formats.strict_json import dumps
from verifier.gate import Plugin
from verifier.judging.verify import judge


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


class Told:
    """A host's callback that remembers."""

    def __init__(self) -> None:
        self.news: list[tuple[str, str]] = []

    def __call__(self, plugin: Plugin, error: PluginRevoked) -> None:
        assert plugin.revoked == error.found
        self.news.append((plugin.facts.plugin_id, error.found.partition("]")[0] + "]"))


def is_stopped(plugin: Plugin, code: str) -> None:
    """Every way into the plugin is closed for that reason."""
    [named] = plugin.entry_points.values()
    [entry] = named.values()
    ways: list[Callable[[], object]] = [
        plugin.check,
        lambda: plugin.module("sample_plugin"),
        lambda: plugin.entry_point("exporters", "hello"),
        entry,
        entry.load,
        plugin.run().__enter__,
    ]
    for way in ways:
        with pytest.raises(PluginRevoked) as caught:
            way()
        assert caught.value.code == "plugin.revoked"
        assert caught.value.found.startswith(f"[{code}]")
    assert plugin.revoked is not None


# -- the list ----------------------------------------------------------------------------------------------------------


def test_a_revoked_plugin_is_stopped_wherever_it_is_held(hosted: HostedDeployment) -> None:
    told, wheel = Told(), hosted.plugin()
    gate = hosted.gate(on_revoked=told)
    plugin = gate.load(wheel)
    held, run = plugin.entry_point("exporters", "hello"), plugin.run()
    assert held() == "hello"
    hosted.revoke(wheel)
    gate.refresh()
    for way in (held, run.__enter__, lambda: run.call(print)):
        assert code_of(way) == "plugin.revoked"
    is_stopped(plugin, "revoked.artifact")
    assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"
    gate.refresh()
    assert told.news == [("sample_plugin", "[revoked.artifact]")]


def test_a_plugin_revoked_within_its_run_is_stopped_at_the_next_call(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    entry = gate.load(wheel).entry_point("exporters", "hello")
    with entry.plugin.run():
        assert entry() == "hello"
        hosted.revoke(wheel)
        gate.refresh()
        assert code_of(entry) == "plugin.revoked"


def test_no_module_of_a_revoked_plugin_begins_to_run_whoever_imports_it(hosted: HostedDeployment) -> None:
    modules = {PACKAGE: "def hello():\n    return 'hello'\n", "sample_plugin/more.py": "raise SystemExit('it ran')\n"}
    wheel, gate = hosted.plugin(modules), hosted.gate()
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    for name in ("sample_plugin", "sample_plugin.more"):  # past the handle, as any code of the host may do
        assert code_of(lambda name=name: importlib.import_module(name)) == "plugin.revoked"  # type: ignore[misc]
    assert code_of(lambda: runpy.run_module("sample_plugin")) == "plugin.revoked"
    assert "sample_plugin" not in sys.modules
    is_stopped(plugin, "revoked.artifact")


def test_what_runs_of_a_plugin_goes_on_after_its_revocation_and_imports_no_more(hosted: HostedDeployment) -> None:
    modules = {PACKAGE: "def hello():\n    import sample_plugin.more\n", "sample_plugin/more.py": ""}
    wheel, gate = hosted.plugin(modules), hosted.gate()
    taken = gate.load(wheel).entry_point("exporters", "hello").load()
    hosted.revoke(wheel)
    gate.refresh()
    assert code_of(taken) == "plugin.revoked"
    assert importlib.import_module("sample_plugin").hello is taken


def test_what_another_process_fetched_stops_a_plugin_at_the_next_verification(hosted: HostedDeployment) -> None:
    told, wheel, other = Told(), hosted.plugin(), hosted.plugin(name="other-plugin")
    gate = hosted.gate(on_revoked=told)
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    hosted.refresh()
    plugin.check()
    gate.verify(other)
    is_stopped(plugin, "revoked.artifact")
    assert told.news == [("sample_plugin", "[revoked.artifact]")]


def test_only_what_is_revoked_is_stopped(hosted: HostedDeployment) -> None:
    wheel, other, gate = hosted.plugin(), hosted.plugin(name="other-plugin"), hosted.gate()
    plugin = gate.load(wheel)
    hosted.revoke(other)
    gate.refresh()
    assert plugin.entry_point("exporters", "hello")() == "hello"


def test_a_remediated_release_needs_a_new_process(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    newer = hosted.plugin(version="1.1")
    assert gate.verify(newer).version == "1.1"
    assert code_of(lambda: gate.load(newer)) == "wheel.shadowing"


@pytest.mark.parametrize(
    ("kind", "match", "code"),
    [
        ("moon-phase", {}, "rule.unsupported"),
        ("plugin", {"id": "another", "range": "vers:pypi/<2"}, "rule.unsupported"),
        ("signer", {"principal": "owner"}, "rule.matched"),
        ("plugin", {"id": "sample_plugin", "range": "<=1.0"}, "rule.matched"),
        ("component", {"purl": "pkg:pypi/sample-plugin"}, "rule.matched"),
        ("signer", {"principal": "nobody"}, None),
        ("plugin", {"id": "sample_plugin", "range": "<1.0"}, None),
    ],
)
def test_running_plugins_are_held_against_new_standing_rules(
    hosted: HostedDeployment, kind: str, match: dict[str, str], code: str | None
) -> None:
    gate = hosted.gate()
    plugin = gate.load(hosted.plugin())
    rule = {"id": "R1", "kind": kind, "match": match, "reason": "vulnerability"}
    hosted.sim.revoked.append("sha256:" + "0" * 64)  # a rule is an event, and an event has a number
    rules = {"sha256": hosted.sim.lists.keep("rules", dumps({"v": 1, "rules": [rule]})), "count": 1}
    hosted.publish_head(rules=rules)
    gate.refresh()
    if code is None:
        plugin.check()
    else:
        is_stopped(plugin, code)


# -- the policy --------------------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[str, Any, str]] = {
    "plugin denied": ("denied_plugins", ["sample_plugin"], "decision.denied"),
    "plugin removed": ("plugins.sample_plugin", None, "decision.unknown-plugin"),
    "not on the allow-list": ("plugins.sample_plugin.artifacts", ["sha256:" + "0" * 64], "decision.denied"),
    "older than the lowest version": ("plugins.sample_plugin.min_version", "2.0", "decision.min-version"),
    "owner's key revoked": ("principals.owner.status", "revoked", "signature.key-revoked"),
    "builder's key retired": ("principals.builder.status", "retired", "signature.key-retired"),
    "another owner": ("plugins.sample_plugin.owners", ["other-owner"], "signature.wrong-signer"),
    "certifier demoted": ("certifiers.certifier.max_tier", "vetted", "certification.tier"),
    "isolation demanded": ("tiers.core.isolation", "process", "decision.isolation"),
    "egress no longer admitted": ("plugins.sample_plugin.egress", [], "decision.egress"),
    "capability no longer admitted": ("tiers.core.capabilities", [], "decision.capability"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_policy_that_takes_something_back_stops_a_running_plugin(hosted: HostedDeployment, case: str) -> None:
    place, value, code = CHANGES[case]
    told = Told()
    gate = hosted.gate(on_revoked=told)
    plugin = gate.load(hosted.plugin())
    hosted.policy(place, value)
    gate.refresh()
    is_stopped(plugin, code)
    assert told.news == [("sample_plugin", f"[{code}]")]


def test_a_signer_that_the_policy_no_longer_names_stops_a_running_plugin(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    plugin = gate.load(hosted.plugin())
    hosted.sim.rules["plugins"]["sample_plugin"]["certifiers"] = []
    hosted.policy("principals.certifier", None)
    gate.refresh()
    is_stopped(plugin, "signature.unknown-signer")


def test_a_withdrawn_certification_stops_a_running_plugin(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    wheel = hosted.sim.wheel()
    claims: Claims = hosted.claims(wheel)
    plugin = gate.load(hosted.put(wheel, claims.sign()))
    hosted.policy("withdrawn", [claims["certification"].digest])
    gate.refresh()
    is_stopped(plugin, "certification.withdrawn")


def test_a_policy_is_heeded_also_when_the_list_that_came_along_is_refused(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    plugin = gate.load(hosted.plugin())
    hosted.policy("denied_plugins", ["sample_plugin"])
    hosted.publish_head(deployment="other")
    with pytest.raises(Refused) as caught:
        gate.refresh()
    assert caught.value.code == "list.deployment"
    is_stopped(plugin, "decision.denied")


# -- what stops nothing that runs --------------------------------------------------------------------------------------


def test_what_merely_ends_stops_new_loads_alone(hosted: HostedDeployment) -> None:
    wheel, other, gate = hosted.plugin(), hosted.plugin(name="other-plugin"), hosted.gate()
    plugin = gate.load(wheel)
    hosted.pass_time(timedelta(days=100))  # certification, policy, list and head key have ended
    with pytest.raises(Refused):
        gate.load(other)
    assert plugin.entry_point("exporters", "hello")() == "hello"
    hosted.pass_time(timedelta(days=-100, hours=1))
    certified = hosted.claims(hosted.sim.wheel("other-plugin"))
    expired = f"{hosted.now:%Y-%m-%dT%H:%M:%SZ}"
    for terms in (value for value in certified["certification"].predicate.values() if isinstance(value, dict)):
        if "expires" in terms:
            terms["expires"] = expired
    late = hosted.put(hosted.sim.wheel("other-plugin"), certified.sign())
    assert code_of(lambda: gate.load(late)) == "certification.expired"
    plugin.check()


def test_a_server_that_is_gone_stops_nothing(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    plugin = gate.load(hosted.plugin())
    hosted.server.stop()
    with pytest.raises(Unreachable):
        gate.refresh()
    plugin.check()


def test_a_refused_list_stops_nothing_and_forgets_nothing(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    plugin = gate.load(wheel)
    hosted.server.lies["lists/head.json"] = status(200, b"{}")
    with pytest.raises(LoadlockError):
        gate.refresh()
    plugin.check()
    hosted.server.lies.clear()
    hosted.revoke(wheel)
    gate.refresh()
    is_stopped(plugin, "revoked.artifact")


def test_a_refresh_that_fails_still_heeds_what_another_process_fetched(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    hosted.refresh()
    hosted.server.stop()
    with pytest.raises(Unreachable):
        gate.refresh()
    is_stopped(plugin, "revoked.artifact")


# -- the host's callback -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("host"), SystemExit(1)])
def test_a_callback_that_fails_keeps_nobody_from_being_judged(
    hosted: HostedDeployment, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def fail(plugin: Plugin, _: PluginRevoked) -> None:
        told.append(plugin.facts.plugin_id)
        raise error

    gate, wheels = hosted.gate(on_revoked=fail), [hosted.plugin(), hosted.plugin(name="other-plugin")]
    plugins = [gate.load(wheel) for wheel in wheels]
    hosted.revoke(*wheels)
    gate.refresh()
    assert [code_of(plugin.check) for plugin in plugins] == ["plugin.revoked"] * 2
    assert told == ["sample_plugin", "other_plugin"]
    assert [record.message for record in caplog.records] == ["the host's on_revoked callback raised an error"] * 2
    gate.refresh()
    assert len(told) == 2


def test_a_callback_may_use_the_gate_and_wait_for_threads_that_do(hosted: HostedDeployment) -> None:
    wheel, other = hosted.plugin(), hosted.plugin(name="other-plugin")
    loaded: list[Plugin] = []

    def replace(plugin: Plugin, _: PluginRevoked) -> None:
        assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"
        thread = threading.Thread(target=lambda: loaded.append(gate.load(other)))
        thread.start()
        thread.join(10)
        gate.refresh()

    gate = hosted.gate(on_revoked=replace)
    gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    assert [plugin.facts.plugin_id for plugin in loaded] == ["other_plugin"]


def test_many_threads_hear_the_news_and_one_tells_it(hosted: HostedDeployment) -> None:
    told, wheels = Told(), [hosted.plugin(), hosted.plugin(name="other-plugin")]
    gate = hosted.gate(on_revoked=told)
    for wheel in wheels:
        gate.load(wheel)
    hosted.revoke(*wheels)
    hosted.refresh()
    start = threading.Barrier(8)

    def look() -> None:
        start.wait(10)
        assert code_of(lambda: gate.verify(wheels[0])) == "revoked.artifact"

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told.news) == [("other_plugin", "[revoked.artifact]"), ("sample_plugin", "[revoked.artifact]")]


def test_what_is_remembered_of_a_revocation_does_not_keep_its_whole_list(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    old = weakref.ref(gate.ground)
    hosted.revoke(hosted.plugin(name="other-plugin"))
    gate.refresh()
    gc.collect()
    assert old() is None
    is_stopped(plugin, "revoked.artifact")


# -- between two moments -----------------------------------------------------------------------------------------------


def test_news_that_arrive_between_verification_and_loading_are_heeded(
    hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, other = hosted.plugin(), hosted.plugin(name="other-plugin")
    gate = hosted.gate()

    def slow(*args: Any) -> Any:
        facts = judge(*args)
        if facts.plugin_id == "sample_plugin":
            hosted.revoke(wheel)
            hosted.refresh()
            gate.verify(other)  # as another thread does, which opens the new list
        return facts

    monkeypatch.setattr("verifier.gate.judge", slow)
    assert code_of(lambda: gate.load(wheel)) == "plugin.revoked"
    assert gate.plugins == ()
    assert PACKAGE.partition("/")[0] not in sys.modules


def test_a_plugin_that_cannot_be_judged_may_not_go_on(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    plugin = gate.load(wheel)
    force_setattr(plugin.facts, "signers", None)  # facts that nobody foresaw
    hosted.publish_head(life=timedelta(hours=7))
    gate.refresh()
    is_stopped(plugin, "internal.unexpected")


def test_a_ground_that_cannot_be_opened_leaves_the_old_one_and_refuses(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    hosted.refresh()
    [segment] = (hosted.directory / "lists" / "segments").iterdir()
    segment.rename(segment.with_suffix(".away"))
    assert code_of(lambda: gate.verify(wheel)) == "list.segments"
    assert code_of(lambda: gate.verify(wheel)) == "list.segments"
    segment.with_suffix(".away").rename(segment)
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"
    is_stopped(plugin, "revoked.artifact")
