"""Plugins that an installer has unpacked, behind the same doors as wheels."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pluggy
import pytest

from tests.hosts import HostedDeployment
from tests.verifier.hosting.conftest import OpenPlugins
from tests.verifier.installations import install, sync
from verifier.hosting.discovery import guard
from verifier.hosting.pluggy import VerifiedPluginManager
from verifier.hosting.stevedore import VerifiedDriverManager

SETTINGS = 'installed = ["Sample.Plugin"]\n'
CODE = """
import pluggy
hookimpl = pluggy.HookimplMarker("acme")

@hookimpl
def export(rows):
    return len(rows)
"""
POINTS = {"acme": {"sample": "sample_plugin"}, "exporters": {"hello": "sample_plugin:export"}}
OWN = "[acme]\nhijack = sample_plugin:export\n"


class Specs:
    @pluggy.HookspecMarker("acme")
    def export(self, rows: list[str]) -> int:
        """Export rows."""
        return 0


@pytest.fixture
def site(hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the plugin is installed, with entry points of its own in the metadata; its wheel lies nowhere else."""
    hosted.policy("tiers.core.assurance", "installed")
    hosted.refresh()
    files = {"sample_plugin/__init__.py": CODE, "sample_plugin-1.0.dist-info/entry_points.txt": OWN}
    wheel = hosted.plugin(files, entry_points=POINTS, folder="elsewhere")
    place = tmp_path / "site"
    install(place, wheel, by="uv")
    assert [fetched.outcome for fetched in sync(hosted, place)] == ["fetched"]
    monkeypatch.syspath_prepend(str(place))
    return place


def test_a_pluggy_host(site: Path, open_plugins: OpenPlugins) -> None:
    plugins = open_plugins(SETTINGS)
    assert [plugin.facts.assurance for plugin in plugins.loaded] == ["installed"]
    manager = VerifiedPluginManager("acme", plugins)
    manager.add_hookspecs(Specs)
    assert manager.load_setuptools_entrypoints("acme") == 1
    assert manager.hook.export(rows=["a"]) == [1]
    ((_, distribution),) = manager.list_plugin_distinfo()
    assert distribution.version == "1.0"


def test_a_stevedore_host(site: Path, open_plugins: OpenPlugins) -> None:
    driver = VerifiedDriverManager("exporters", "hello", plugins=open_plugins(SETTINGS)).driver
    assert driver(["a", "b"]) == 2


def test_an_unchanged_host_finds_the_signed_entry_points_alone(site: Path, open_plugins: OpenPlugins) -> None:
    assert set(importlib.metadata.entry_points(group="acme").names) == {"hijack"}
    with guard(open_plugins(SETTINGS + 'groups = ["acme"]\n')):
        (point,) = importlib.metadata.entry_points(group="acme")
        assert (point.name, point.load().export(["a"])) == ("sample", 1)


def test_what_is_installed_and_not_verified_is_reported_and_not_found(site: Path, open_plugins: OpenPlugins) -> None:
    (site / "sample_plugin" / "__init__.py").write_text("raise AssertionError('nobody attested this')\n")
    manager = VerifiedPluginManager("acme", open_plugins(SETTINGS))
    assert manager.load_setuptools_entrypoints("acme") == 0
    assert {refused.error.code for refused in manager.verified.refused} == {"installed.changed"}


def test_what_is_not_installed_is_reported(open_plugins: OpenPlugins) -> None:
    (refused,) = open_plugins('installed = ["nobody-has-this"]\n').refused
    assert (str(refused.path), refused.error.code) == ("nobody-has-this", "installed.unknown")
