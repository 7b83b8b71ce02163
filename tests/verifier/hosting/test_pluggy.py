"""A pluggy host behind the gate: what is registered, what is reported, what is taken out again."""

from __future__ import annotations

import logging
from collections.abc import Generator
from importlib.metadata import distributions

import pluggy
import pytest

from tests.hosts import HostedDeployment, set_of
from tests.verifier.hosting.conftest import OpenPlugins
from verifier.errors import PluginRevoked
from verifier.hosting.pluggy import VerifiedPluginManager

hookspec, hookimpl = pluggy.HookspecMarker("acme"), pluggy.HookimplMarker("acme")

CODE = """
import logging
import pluggy
hookimpl = pluggy.HookimplMarker("acme")

@hookimpl
def export(rows):
    logging.getLogger("acme").warning("exporting")
    return len(rows)

@hookimpl
def started(name):
    logging.getLogger("acme").warning("started")

@hookimpl(wrapper=True)
def around(rows):
    logging.getLogger("acme").warning("before")
    try:
        return (yield) + ["wrapped"]
    finally:
        logging.getLogger("acme").warning("after")
"""
PLUGIN = {"sample_plugin/__init__.py": CODE}
POINTS = {"acme": {"sample": "sample_plugin"}}


class Specs:
    @hookspec
    def export(self, rows: list[str]) -> int:
        """Export rows."""
        return 0

    @hookspec
    def around(self, rows: list[str]) -> int:
        """Export rows too."""
        return 0

    @hookspec(historic=True)
    def started(self, name: str) -> None:
        """Say that the host has started."""


@pytest.fixture
def manager(hosted: HostedDeployment, open_plugins: OpenPlugins) -> VerifiedPluginManager:
    """A manager of a host with one plugin, not registered yet."""
    hosted.plugin(PLUGIN, entry_points=POINTS)
    return managing(open_plugins)


def managing(open_plugins: OpenPlugins) -> VerifiedPluginManager:
    manager = VerifiedPluginManager("acme", open_plugins())
    manager.add_hookspecs(Specs)
    return manager


def test_what_verifies_is_registered_and_called(manager: VerifiedPluginManager) -> None:
    assert manager.load_setuptools_entrypoints("acme") == 1
    assert manager.hook.export(rows=["a", "b"]) == [2]
    assert manager.has_plugin("sample")
    ((_, distribution),) = manager.list_plugin_distinfo()
    assert (distribution.metadata["Name"], distribution.version) == ("sample-plugin", "1.0")


def test_nothing_that_is_merely_installed_is_found(manager: VerifiedPluginManager) -> None:
    installed = {point.group for found in distributions() for point in found.entry_points}
    assert "pytest11" in installed
    assert manager.load_setuptools_entrypoints("pytest11") == 0


def test_other_groups_and_names_are_left_alone(manager: VerifiedPluginManager) -> None:
    assert manager.load_setuptools_entrypoints("other") == 0
    assert manager.load_setuptools_entrypoints("acme", name="nobody") == 0
    assert manager.load_setuptools_entrypoints("acme", name="sample") == 1
    assert manager.load_setuptools_entrypoints("acme") == 0  # it is there already


def test_a_blocked_name_is_not_registered(manager: VerifiedPluginManager) -> None:
    manager.set_blocked("sample")
    assert manager.load_setuptools_entrypoints("acme") == 0


def test_a_refused_plugin_is_not_registered_and_is_reported(
    hosted: HostedDeployment, open_plugins: OpenPlugins
) -> None:
    set_of(hosted.plugin(PLUGIN, entry_points=POINTS)).unlink()
    manager = managing(open_plugins)
    assert manager.load_setuptools_entrypoints("acme") == 0
    assert [refused.error.code for refused in manager.verified.refused] == ["set.missing"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise ValueError('broken')", "plugin.failed"),
        (CODE.replace("def export(rows)", "def export(nothing)"), "plugin.failed"),
    ],
)
def test_a_plugin_that_fails_is_reported_and_the_host_goes_on(
    hosted: HostedDeployment, open_plugins: OpenPlugins, code: str, expected: str
) -> None:
    hosted.plugin({"sample_plugin/__init__.py": code}, entry_points=POINTS)
    manager = managing(open_plugins)
    assert manager.load_setuptools_entrypoints("acme") == 0
    assert [refused.error.code for refused in manager.verified.refused] == [expected]
    assert not manager.has_plugin("sample")
    assert manager.hook.export(rows=[]) == []


def test_a_revoked_plugin_is_taken_out(manager: VerifiedPluginManager, hosted: HostedDeployment) -> None:
    manager.load_setuptools_entrypoints("acme")
    hosted.revoke(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl")
    manager.verified.gate.refresh()
    assert manager.hook.export(rows=["a"]) == []
    assert not manager.has_plugin("sample")
    assert manager.load_setuptools_entrypoints("acme") == 0


def test_a_hook_that_was_taken_before_is_behind_the_switch(
    manager: VerifiedPluginManager, hosted: HostedDeployment
) -> None:
    manager.load_setuptools_entrypoints("acme")
    (taken,) = manager.hook.export.get_hookimpls()
    hosted.revoke(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl")
    manager.verified.gate.refresh()
    with pytest.raises(PluginRevoked):
        taken.function(["a"])


def test_each_call_is_a_run_of_the_plugins(manager: VerifiedPluginManager, caplog: pytest.LogCaptureFixture) -> None:
    manager.hook.started.call_historic(kwargs={"name": "host"})
    manager.load_setuptools_entrypoints("acme")
    manager.hook.export(rows=[])
    stamps = [(record.message, record.__dict__["plugin_id"], record.__dict__["run_id"]) for record in caplog.records]
    assert [stamp[:2] for stamp in stamps] == [("started", "sample_plugin"), ("exporting", "sample_plugin")]
    assert len({run for _, _, run in stamps}) == 2
    assert all(run for _, _, run in stamps)


def test_a_wrapper_is_within_its_run_and_the_host_is_not(
    manager: VerifiedPluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    class Own:
        @hookimpl
        def around(self, rows: list[str]) -> str:
            logging.getLogger("host").warning("between")
            return "own"

    manager.load_setuptools_entrypoints("acme")
    manager.register(Own())
    assert manager.hook.around(rows=[]) == ["own", "wrapped"]
    said = {record.message: record.__dict__ for record in caplog.records}
    assert said["before"]["run_id"] == said["after"]["run_id"] != ""
    assert (said["between"]["plugin_id"], said["between"]["run_id"]) == ("", "")


def test_a_wrapper_is_told_of_the_errors_of_others(manager: VerifiedPluginManager) -> None:
    class Own:
        @hookimpl
        def around(self, rows: list[str]) -> Generator[None, object, object]:
            raise KeyError("own")

    manager.load_setuptools_entrypoints("acme")
    manager.register(Own())
    with pytest.raises(KeyError, match="own"):
        manager.hook.around(rows=[])
