"""The plugins of a host: the newest of each that verifies is loaded, and what is not let in is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, code_of, set_of
from tests.verifier.hosting.conftest import OpenPlugins
from verifier.errors import PluginRevoked
from verifier.hosting import Plugins, Settings
from verifier.plugin import Plugin


def refused(plugins: Plugins) -> list[tuple[str, str]]:
    return [(each.path.name, each.error.code) for each in plugins.refused]


def test_what_verifies_is_loaded_and_called(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    hosted.plugin()
    plugins = open_plugins()
    assert [plugin.facts.plugin_id for plugin in plugins.loaded] == ["sample_plugin"]
    (point,) = plugins.entry_points("exporters")
    assert point() == "hello"
    assert plugins.refused == ()


def test_entry_points_are_chosen_by_group_and_name(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    points = {"exporters": {"a": "sample_plugin:hello", "b": "sample_plugin:hello"}, "others": {"a": "sample_plugin"}}
    hosted.plugin(entry_points=points)
    plugins = open_plugins()
    assert [point.name for point in plugins.entry_points("exporters")] == ["a", "b"]
    assert [point.name for point in plugins.entry_points("exporters", "b")] == ["b"]
    assert plugins.entry_points("nothing") == []


def test_an_unsigned_wheel_is_reported_and_the_rest_loads(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    set_of(hosted.plugin()).unlink()
    hosted.plugin(name="other-plugin")
    plugins = open_plugins()
    assert [plugin.facts.plugin_id for plugin in plugins.loaded] == ["other_plugin"]
    assert refused(plugins) == [("sample_plugin-1.0-py3-none-any.whl", "set.missing")]
    assert "set.missing" in str(plugins.refused[0])


def test_the_newest_release_that_verifies_is_loaded(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    hosted.plugin(version="1.9")
    hosted.plugin(version="1.10")
    hosted.revoke(hosted.plugin(version="2.0"))
    hosted.refresh()
    plugins = open_plugins()
    assert [str(plugin.facts.version) for plugin in plugins.loaded] == ["1.10"]
    assert refused(plugins) == [("sample_plugin-2.0-py3-none-any.whl", "revoked.artifact")]


def test_of_releases_that_are_all_refused_none_is_loaded(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    for version in ("1.0", "2.0"):
        set_of(hosted.plugin(version=version)).unlink()
    plugins = open_plugins()
    assert (plugins.loaded, [code for _, code in refused(plugins)]) == ((), ["set.missing", "set.missing"])


@pytest.mark.parametrize("name", ["nothing.whl", "sample_plugin-x-py3-none-any.whl"])
def test_what_bears_no_wheels_name_is_refused(hosted: HostedDeployment, open_plugins: OpenPlugins, name: str) -> None:
    for number in (1, 2):
        (hosted.wheels / f"{number}{name}").write_bytes(b"nothing")
    assert [code for _, code in refused(open_plugins())] == ["set.missing", "set.missing"]


def test_a_revocation_reaches_those_who_subscribed_and_the_hosts_callback(
    hosted: HostedDeployment, open_plugins: OpenPlugins
) -> None:
    wheel = hosted.plugin()
    told: list[tuple[str, str]] = []

    def fails(plugin: Plugin, error: PluginRevoked) -> None:
        told.append(("fails", plugin.facts.plugin_id))
        raise ValueError

    def last(plugin: Plugin, error: PluginRevoked) -> None:
        told.append(("last", error.code))

    plugins = open_plugins(on_revoked=last)
    plugins.subscribe(fails)
    hosted.revoke(wheel)
    plugins.gate.refresh()
    assert told == [("fails", "sample_plugin"), ("last", "plugin.revoked")]
    assert plugins.entry_points("exporters") == []


# -- what a host requires ---------------------------------------------------------------------------------------------


def test_a_required_plugin_that_is_refused_keeps_the_host_from_starting(
    hosted: HostedDeployment, open_plugins: OpenPlugins
) -> None:
    set_of(hosted.plugin()).unlink()
    assert code_of(lambda: open_plugins('required = ["sample_plugin"]')) == "set.missing"


def test_a_required_plugin_that_is_not_there_keeps_the_host_from_starting(open_plugins: OpenPlugins) -> None:
    assert code_of(lambda: open_plugins('required = ["sample_plugin"]')) == "usage.configuration"


def test_a_required_plugin_that_loads_is_all_that_is_asked(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    hosted.plugin()
    assert len(open_plugins('required = ["sample_plugin"]').loaded) == 1


def test_what_the_settings_want_is_wanted_of_every_plugin(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    hosted.plugin()
    assert [code for _, code in refused(open_plugins('classification = "secret"'))] == ["decision.classification"]
    assert [code for _, code in refused(open_plugins("hermetic = true"))] == ["decision.hermetic"]


def test_a_stale_list_refuses_every_plugin(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    hosted.plugin()
    hosted.pass_time(timedelta(days=3))
    plugins = open_plugins()
    assert (plugins.loaded, refused(plugins)[0][1]) == ((), "list.stale")


def test_a_host_that_was_never_enrolled_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "loadlock.toml").write_text("")
    assert code_of(lambda: Plugins.open(tmp_path)) in ("trust.missing", "list.state")


def test_a_directory_that_is_not_there_is_wrong_configuration(hosted: HostedDeployment) -> None:
    assert code_of(lambda: Plugins(Settings(deployment=hosted.directory, plugins=(hosted.wheels / "x",)))) == (
        "usage.configuration"
    )


def test_a_host_watches_unless_it_says_not_to(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    hosted.plugin()
    assert open_plugins().gate._watcher is None
    with Plugins(
        Settings(deployment=hosted.directory, plugins=(hosted.wheels,), push=False), clock=hosted.clock
    ) as plugins:
        hosted.gates.append(plugins.gate)
        assert plugins.gate._watcher is not None
    assert plugins.gate._watcher is None
