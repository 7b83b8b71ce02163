"""An unchanged host finds, in guarded groups, what verified plugins offer and what is its own; nothing else."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pluggy
import pytest
from stevedore import ExtensionManager

from tests.hosts import HostedDeployment, code_of, set_of
from tests.verifier.hosting.conftest import OpenPlugins
from verifier.hosting import Plugins
from verifier.hosting.discovery import VerifiedDistribution, guard

SETTINGS = 'groups = ["acme"]\nown = ["Acme_App"]\n'
CODE = """
import pluggy
hookimpl = pluggy.HookimplMarker("acme")

@hookimpl
def export(rows):
    return len(rows)

def plain():
    return "verified"
"""
POINTS = {"acme": {"sample": "sample_plugin", "plain": "sample_plugin:plain"}, "other": {"x": "sample_plugin"}}
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place on ``sys.path`` with the host's own distribution, and one that nobody has verified."""
    place = tmp_path / "installed"
    for name, points in (
        ("acme-app", "[acme]\nown = acme_app:own\n"),
        ("evil", "[acme]\nevil = evil:run\nplain = evil:run\n[elsewhere]\nfine = evil:run\n"),
    ):
        info = place / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(METADATA.format(name))
        (info / "entry_points.txt").write_text(points)
    (place / "acme_app.py").write_text("def own(): return 'own'\n")
    (place / "evil.py").write_text("raise AssertionError('nobody verified this')\n")
    monkeypatch.syspath_prepend(place)
    return place


@pytest.fixture
def plugins(hosted: HostedDeployment, open_plugins: OpenPlugins, installed: Path) -> Iterator[Plugins]:
    hosted.plugin({"sample_plugin/__init__.py": CODE}, entry_points=POINTS)
    plugins = open_plugins(SETTINGS)
    with guard(plugins):
        yield plugins
    sys.modules.pop("acme_app", None)


def names(group: str) -> set[str]:
    return set(importlib.metadata.entry_points(group=group).names)


def test_only_what_is_verified_or_the_hosts_own_is_found(plugins: Plugins) -> None:
    assert names("acme") == {"sample", "plain", "own"}
    found = importlib.metadata.entry_points(group="acme")
    assert (found["plain"].load()(), found["own"].load()()) == ("verified", "own")
    assert "evil" not in sys.modules


def test_what_only_says_that_it_is_the_hosts_own_is_not(plugins: Plugins, installed: Path) -> None:
    for name in ("liar-1.0.dist-info", "other_liar-1.0.egg-info"):
        (installed / name).mkdir()
        metadata = "METADATA" if name.endswith("dist-info") else "PKG-INFO"
        (installed / name / metadata).write_text(METADATA.format("acme-app"))
        (installed / name / "entry_points.txt").write_text("[acme]\nlie = evil:run\n")
    importlib.invalidate_caches()
    assert names("acme") == {"sample", "plain", "own"}
    assert pluggy.PluginManager("acme").load_setuptools_entrypoints("acme", "lie") == 0


def test_other_groups_are_left_alone(plugins: Plugins) -> None:
    assert "fine" in names("elsewhere")
    assert "loadlock" in names("pytest11")
    assert names("other") == set()  # of a plugin, only what is guarded is offered


def test_distributions_are_listed_with_their_verified_entry_points(plugins: Plugins) -> None:
    listed = {found.metadata["Name"]: found for found in importlib.metadata.distributions()}
    mine = listed["sample-plugin"]
    assert isinstance(mine, VerifiedDistribution)
    assert mine.version == "1.0"
    assert "sample = sample_plugin" in (mine.read_text("entry_points.txt") or "")
    assert "[other]" not in (mine.read_text("entry_points.txt") or "")
    assert any(str(file) == "sample_plugin/__init__.py" for file in mine.files or ())
    assert [point.group for point in listed["evil"].entry_points] == ["elsewhere"]
    assert {point.name for point in listed["acme-app"].entry_points} == {"own"}


def test_by_its_name_a_plugin_offers_nothing_that_is_not_signed(
    hosted: HostedDeployment, open_plugins: OpenPlugins
) -> None:
    files = {"sample_plugin-1.0.dist-info/entry_points.txt": "[acme]\nhijack = sample_plugin:hello\n"}
    hosted.plugin(files)
    with guard(open_plugins(SETTINGS)):
        assert list(importlib.metadata.distribution("sample-plugin").entry_points.select(group="acme")) == []
        assert "hijack" not in names("acme")


def test_what_is_revoked_is_found_no_more(plugins: Plugins) -> None:
    plugins.loaded[0].revoke("for this test")
    assert names("acme") == {"own"}


def test_a_pluggy_host(plugins: Plugins, hosted: HostedDeployment) -> None:
    class Specs:
        @pluggy.HookspecMarker("acme")
        def export(self, rows: list[str]) -> int:
            """Export rows."""
            return 0

    manager = pluggy.PluginManager("acme")
    manager.add_hookspecs(Specs)
    assert manager.load_setuptools_entrypoints("acme") == 3
    assert {name for name, _ in manager.list_name_plugin()} == {"sample", "plain", "own"}
    assert {found.metadata["Name"] for _, found in manager.list_plugin_distinfo()} == {"sample-plugin", "acme-app"}
    assert manager.hook.export(rows=["a"]) == [1]
    assert manager.load_setuptools_entrypoints("acme") == 0
    hosted.revoke(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl")
    plugins.gate.refresh()
    assert manager.hook.export(rows=["a"]) == []
    assert manager.load_setuptools_entrypoints("loadlock.nothing") == 0


def test_a_stevedore_host(plugins: Plugins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {"acme": []})
    assert set(ExtensionManager[object]("acme").names()) == {"sample", "plain", "own"}


def test_it_is_taken_away_again(hosted: HostedDeployment, open_plugins: OpenPlugins, installed: Path) -> None:
    before = vars(importlib.metadata.Distribution)["entry_points"], pluggy.PluginManager.load_setuptools_entrypoints
    finders = [*sys.meta_path]
    guarding = guard(open_plugins(SETTINGS))
    assert names("acme") == {"own"}
    guarding.remove()
    guarding.remove()
    assert names("acme") == {"own", "evil", "plain"}
    assert before == (
        vars(importlib.metadata.Distribution)["entry_points"], pluggy.PluginManager.load_setuptools_entrypoints,
    )  # fmt: skip
    assert sys.meta_path == finders


def test_one_guard_in_a_process(plugins: Plugins) -> None:
    assert code_of(lambda: guard(plugins)) == "usage.exists"


def test_groups_have_to_be_named(open_plugins: OpenPlugins) -> None:
    assert code_of(lambda: guard(open_plugins())) == "usage.configuration"


def test_a_refused_plugin_is_not_found(hosted: HostedDeployment, open_plugins: OpenPlugins, installed: Path) -> None:
    set_of(hosted.plugin({"sample_plugin/__init__.py": CODE}, entry_points=POINTS)).unlink()
    plugins = open_plugins(SETTINGS)
    with guard(plugins):
        assert names("acme") == {"own"}
    assert [refused.error.code for refused in plugins.refused] == ["set.missing"]
