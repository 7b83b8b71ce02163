"""Every recipe ends in the refusal that it is named after, through the ordinary gate."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loadlock.testing import REFUSALS, Deployment, Refusal
from tests.hosts import code_of
from verifier import PluginRevoked
from verifier.codes import CODES
from verifier.hosting import Plugins

HELLO = {"hello_plugin.py": "def hello(name):\n    return f'hello {name}'\n"}
POINTS = {"greeters": {"hello": "hello_plugin:hello"}}


def test_every_refusal_is_refused_with_its_code(loadlock_refusal: Refusal) -> None:
    gate = loadlock_refusal.deployment.gate()
    assert code_of(lambda: gate.load(loadlock_refusal.wheel)) == loadlock_refusal.code


def test_every_recipe_is_named_after_a_code() -> None:
    assert set(REFUSALS) <= set(CODES)
    assert len(REFUSALS) > 20


@pytest.mark.parametrize("loadlock_refusal", ["set.missing"], indirect=True)
def test_one_refusal_can_be_chosen(loadlock_refusal: Refusal) -> None:
    assert loadlock_refusal.code == "set.missing"


def test_what_is_attested_is_loaded_and_called(loadlock_deployment: Deployment) -> None:
    plugin = loadlock_deployment.load(HELLO, name="hello-plugin", entry_points=POINTS)
    assert plugin.facts.tier == "core"
    assert plugin.entry_point("greeters", "hello")("Ada") == "hello Ada"


def test_what_is_revoked_stops_at_once(loadlock_deployment: Deployment) -> None:
    plugin = loadlock_deployment.load(HELLO, name="hello-plugin", entry_points=POINTS)
    loadlock_deployment.revoke(plugin)
    with pytest.raises(PluginRevoked):
        plugin.entry_point("greeters", "hello")("Ada")


def test_a_host_by_its_settings(loadlock_deployment: Deployment) -> None:
    loadlock_deployment.attest(HELLO, name="hello-plugin", entry_points=POINTS)
    loadlock_deployment.refuse("set.missing")
    with Plugins.open(loadlock_deployment.directory) as plugins:
        loadlock_deployment.adopt(plugins.gate)
        assert [point("Ada") for point in plugins.entry_points("greeters")] == ["hello Ada"]
        assert [refused.error.code for refused in plugins.refused] == ["set.missing"]


def test_a_wheel_that_was_built_is_taken_as_it_is(loadlock_deployment: Deployment, tmp_path: Path) -> None:
    made = loadlock_deployment.attest(HELLO, name="hello-plugin")
    built = tmp_path / made.name
    built.write_bytes(made.read_bytes())
    plugin = loadlock_deployment.load(built)
    assert plugin.facts.manifest.entry_points == {"plugins": {"hello_plugin": "hello_plugin"}}


def test_its_clock_moves_by_hand(loadlock_deployment: Deployment) -> None:
    wheel = loadlock_deployment.attest(HELLO, name="hello-plugin")
    gate = loadlock_deployment.gate()
    loadlock_deployment.pass_time(timedelta(hours=12))
    assert "grace" in gate.verify(wheel).warnings[0]
    loadlock_deployment.pass_time(timedelta(days=2))
    assert code_of(lambda: gate.verify(wheel)) == "list.stale"


def test_an_unknown_code_has_no_recipe(loadlock_deployment: Deployment) -> None:
    with pytest.raises(KeyError):
        loadlock_deployment.refuse("nothing")
