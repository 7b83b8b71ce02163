"""Whether the host could have a distribution or a module is never denied where Python itself finds one."""

from __future__ import annotations

import importlib.metadata
import os
import pkgutil
import sys
import zipfile
from importlib.machinery import FileFinder, ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path

import pytest

from verifier.importing import environment
from verifier.importing.environment import Surroundings
from verifier.importing.finder import Finder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of this process's sys.path; nobody but Python itself finds distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "_pytest" not in str(type(finder))])
    environment.look_again()
    importlib.invalidate_caches()
    return tmp_path


def may_have(name: str, ours: type) -> bool:
    return Surroundings().may_have(name, ours)


def may_import(name: str) -> bool:
    return Surroundings().may_import(name)


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


# -- modules -----------------------------------------------------------------------------------------------------------


MODULES = ["sample.py", "sample.pyc", "sample.abi3.so", "sample", "sample/__init__.py", "SAMPLE.py", "other.py"]


@pytest.mark.parametrize("name", ["ΑΣ", "İ", "straße", "Ǆ", "ﬁ"])
def test_a_letter_whose_small_one_depends_on_its_neighbours(name: str, place: Path) -> None:
    PathFinder.find_spec(name)
    (place / f"{name}.py").touch()
    environment.look_again()
    importlib.invalidate_caches()
    assert PathFinder.find_spec(name) is not None
    assert may_import(name)


@pytest.mark.parametrize("path", MODULES)
def test_whatever_python_finds_may_be_imported(path: str, place: Path) -> None:
    assert PathFinder.find_spec("sample") is None  # by now Python's own finder knows the directory
    assert not may_import("sample")
    file = place / path
    if "." in file.name:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    else:
        file.mkdir()
    environment.look_again()
    importlib.invalidate_caches()
    found = PathFinder.find_spec("sample")
    assert may_import("sample") or found is None
    assert not may_import("unheard_of")


def test_every_module_of_this_environment_may_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    environment.look_again()
    PathFinder.find_spec("unheard_of")
    found = {module.name for module in pkgutil.iter_modules() if isinstance(module.module_finder, FileFinder)}
    assert len(found) > 100
    assert all(map(may_import, found))
    assert not may_import("unheard_of")


def test_a_directory_that_nobody_has_looked_into_may_hold_anything(place: Path) -> None:
    assert str(place) not in sys.path_importer_cache
    assert may_import("sample")


def test_a_directory_with_another_module_is_listed_again(place: Path) -> None:
    PathFinder.find_spec("sample")
    assert not may_import("sample")
    (place / "sample.py").touch()
    assert may_import("sample")


def test_an_archive_or_anybody_elses_entry_may_hold_anything(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hook:
        def __init__(self, entry: str) -> None:
            if not entry.startswith("elsewhere:"):
                raise ImportError

        def find_spec(self, name: str, target: object = None) -> ModuleSpec | None:
            return None

    with zipfile.ZipFile(place / "code.zip", "w"):
        pass
    monkeypatch.setattr(sys, "path_hooks", [Hook, *sys.path_hooks])
    for entry in (str(place / "code.zip"), "elsewhere:code", ""):
        monkeypatch.setattr(sys, "path", [entry])
        PathFinder.find_spec("sample")
        assert may_import("sample"), entry


def test_what_is_not_there_holds_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place / "missing"), place])
    PathFinder.find_spec("sample")
    assert not may_import("sample")
    (place / "gone").mkdir()
    monkeypatch.setattr(sys, "path", [str(place / "gone")])
    PathFinder.find_spec("sample")
    (place / "gone").rmdir()
    assert not may_import("sample")


def test_what_came_within_a_tick_is_found_once_it_is_looked_again(place: Path) -> None:
    before = place.stat()
    assert PathFinder.find_spec("sample") is None
    assert not may_import("sample")
    (place / "sample.py").touch()
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert PathFinder.find_spec("sample") is None
    environment.look_again()
    assert may_import("sample")
    environment.ask()
    assert PathFinder.find_spec("sample") is not None


def test_who_knows_exactly_looks_again_once_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(importlib, "invalidate_caches", lambda: asked.append(None))
    for count in (1, 2):
        environment.look_again()
        environment.ask()
        environment.ask()
        assert len(asked) == count


def test_a_directory_that_came_since_may_hold_anything(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place / "late")])
    PathFinder.find_spec("sample")
    assert not may_import("sample")
    (place / "late").mkdir()
    assert may_import("sample")
