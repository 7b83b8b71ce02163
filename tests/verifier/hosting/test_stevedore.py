"""stevedore's managers behind the gate."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
from stevedore.exception import NoMatches

from tests.hosts import HostedDeployment, set_of
from tests.verifier.hosting.conftest import OpenPlugins
from verifier.errors import PluginRevoked
from verifier.hosting import Plugins
from verifier.hosting.stevedore import (
    VerifiedDriverManager,
    VerifiedEnabledExtensionManager,
    VerifiedExtensionManager,
    VerifiedHookManager,
    VerifiedNamedExtensionManager,
)

CODE = """
class Csv:
    def __init__(self, separator=","):
        self.separator = separator

    def export(self, row):
        return self.separator.join(row)

def tsv():
    return "tsv"
"""
POINTS = {"acme": {"csv": "sample_plugin:Csv", "tsv": "sample_plugin:tsv"}}


@pytest.fixture
def plugins(hosted: HostedDeployment, open_plugins: OpenPlugins) -> Plugins:
    hosted.plugin({"sample_plugin/__init__.py": CODE}, entry_points=POINTS)
    return open_plugins()


def test_all_extensions(plugins: Plugins) -> None:
    manager = VerifiedExtensionManager("acme", plugins=plugins)
    assert sorted(manager.names()) == ["csv", "tsv"]
    assert sorted(manager.entry_points_names()) == ["csv", "tsv"]
    assert manager["tsv"].plugin() == "tsv"


def test_a_driver_is_made_and_used(plugins: Plugins) -> None:
    manager = VerifiedDriverManager("acme", "csv", invoke_on_load=True, invoke_args=(";",), plugins=plugins)
    driver: Any = manager.driver
    assert driver.export(["a", "b"]) == "a;b"


def test_named_hook_and_enabled_extensions(plugins: Plugins) -> None:
    assert VerifiedNamedExtensionManager("acme", ["tsv"], plugins=plugins).names() == ["tsv"]
    assert VerifiedHookManager("acme", "csv", plugins=plugins).names() == ["csv"]
    chosen = VerifiedEnabledExtensionManager("acme", lambda found: found.name == "csv", plugins=plugins)
    assert chosen.names() == ["csv"]


def test_a_refused_driver_is_none(hosted: HostedDeployment, open_plugins: OpenPlugins) -> None:
    set_of(hosted.plugin({"sample_plugin/__init__.py": CODE}, entry_points=POINTS)).unlink()
    plugins = open_plugins()
    with pytest.raises(NoMatches):
        VerifiedDriverManager("acme", "csv", plugins=plugins)
    assert [refused.error.code for refused in plugins.refused] == ["set.missing"]


def test_what_is_installed_is_not_found(plugins: Plugins) -> None:
    assert importlib.metadata.entry_points(group="console_scripts").names
    assert VerifiedExtensionManager("console_scripts", plugins=plugins).names() == []


def test_a_driver_that_is_revoked_is_not_made_again(plugins: Plugins) -> None:
    tsv = VerifiedDriverManager("acme", "tsv", plugins=plugins).driver
    plugins.loaded[0].revoke("for this test")
    with pytest.raises(PluginRevoked):
        tsv()
    with pytest.raises(NoMatches):
        VerifiedDriverManager("acme", "csv", plugins=plugins)
