"""Whether the host could have a distribution is never denied where importlib.metadata finds one."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path

import pytest

from verifier.importing import environment
from verifier.importing.environment import may_have
from verifier.importing.finder import Finder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of this process's sys.path; nobody but Python itself finds distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "_pytest" not in str(type(finder))])
    environment.look_again()
    importlib.invalidate_caches()
    return tmp_path


def is_found(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))


NAMES = [
    "sample_plugin-1.0.dist-info",
    "Sample.Plugin-1.0.dist-info",
    "sample__plugin-1.0.egg-info",
    "SAMPLE-PLUGIN.dist-info",
    "sample_plugin.egg-info",
    "sample_plugin.dist-info",
]


@pytest.mark.parametrize("directory", NAMES)
def test_whatever_importlib_finds_may_be_there(directory: str, place: Path) -> None:
    assert not may_have("sample-plugin", Finder)
    assert not is_found("sample-plugin")
    (place / directory).mkdir()
    (place / directory / "METADATA").write_text("Metadata-Version: 2.1\nName: sample-plugin\nVersion: 1.0\n")
    environment.look_again()
    importlib.invalidate_caches()
    assert may_have("sample-plugin", Finder) or not is_found("sample-plugin")
    assert not may_have("another-plugin", Finder)


def test_what_is_installed_in_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    environment.look_again()
    for found in importlib.metadata.distributions():
        assert may_have(found.metadata["Name"].lower().replace("_", "-").replace(".", "-"), Finder)


def test_a_directory_that_changes_is_listed_again(place: Path) -> None:
    assert not may_have("sample-plugin", Finder)
    (place / "sample_plugin-1.0.dist-info").mkdir()
    assert may_have("sample-plugin", Finder)


def test_an_archive_or_an_egg_may_have_anything(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(place / "code.zip", "w"):
        pass
    (place / "code.egg").mkdir()
    for name in ("code.zip", "code.egg"):
        monkeypatch.setattr(sys, "path", [str(place / name)])
        assert may_have("sample-plugin", Finder)


def test_what_is_not_there_has_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place / "missing"), "a\0b"])
    assert not may_have("sample-plugin", Finder)


def test_another_finder_may_have_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(DistributionFinder):
        def find_distributions(self, context: DistributionFinder.Context | None = None) -> list[Distribution]:
            return []

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Other()])
    assert may_have("sample-plugin", Finder)


def test_the_current_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [""])
    monkeypatch.chdir(place)
    assert not may_have("sample-plugin", Finder)
    (place / "sample_plugin-1.0.dist-info").mkdir()
    assert may_have("sample-plugin", Finder)
