"""Package data and metadata from memory."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import pkgutil
from importlib.resources.abc import Traversable

import pytest

from tests.verifier.importing.conftest import Make

PLUGIN = {
    "sample_plugin/__init__.py": "",
    "sample_plugin/mod.py": "",
    "sample_plugin/words.txt": "h\xe9llo\r\nworld\n",
    "sample_plugin/data/a.bin": b"\x00\xff",
    "sample_plugin/data/deep/b.txt": "b",
}
ENTRY_POINTS = "[console_scripts]\nsample = sample_plugin:main\n[loadlock.commands]\nevil = sample_plugin:EVIL\n"


@pytest.fixture
def files(made: Make) -> Traversable:
    made(PLUGIN).import_module("sample_plugin")
    return importlib.resources.files("sample_plugin")


def test_reading(files: Traversable) -> None:
    assert files.joinpath("words.txt").read_text(encoding="utf-8") == "h\xe9llo\nworld\n"
    assert (files / "words.txt").read_bytes() == "h\xe9llo\r\nworld\n".encode()
    assert (files / "data" / "a.bin").read_bytes() == b"\x00\xff"
    assert files.joinpath("data/deep/b.txt").read_text() == "b"
    assert files.joinpath("data", "deep", "..", "a.bin").is_file()
    with (files / "words.txt").open("r", encoding="utf-8", newline="") as stream:  # type: ignore[call-overload]
        assert stream.readline() == "h\xe9llo\r\n"
    with (files / "data/a.bin").open("rb") as stream:
        assert stream.read() == b"\x00\xff"


def test_directories(files: Traversable) -> None:
    assert [child.name for child in files.iterdir()] == ["__init__.py", "data", "mod.py", "words.txt"]
    assert files.is_dir()
    assert not files.is_file()
    assert files.name == "sample_plugin"
    assert (files / "data").is_dir()
    assert not (files / "ghost").is_dir()
    assert not (files / "ghost").is_file()
    assert importlib.resources.files("sample_plugin.data").joinpath("a.bin").is_file()


def test_what_is_not_there(files: Traversable) -> None:
    with pytest.raises(FileNotFoundError):
        (files / "ghost").read_bytes()
    with pytest.raises(FileNotFoundError):
        list((files / "ghost").iterdir())
    with pytest.raises(IsADirectoryError):
        (files / "data").read_bytes()
    with pytest.raises(NotADirectoryError):
        list((files / "words.txt").iterdir())


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "..", "data/../../../x"])
def test_nothing_outside_the_wheel(path: str, files: Traversable) -> None:
    target = files
    with pytest.raises(FileNotFoundError):
        target.joinpath(path).joinpath("..").read_bytes()


@pytest.mark.parametrize("mode", ["w", "a", "r+", "wb", "x"])
def test_nothing_is_written(mode: str, files: Traversable) -> None:
    with pytest.raises(ValueError, match="only be read"):
        (files / "words.txt").open(mode)  # type: ignore[call-overload]


def test_as_file(files: Traversable) -> None:
    with importlib.resources.as_file(files / "data/a.bin") as path:
        assert path.read_bytes() == b"\x00\xff"
        assert path.name.endswith("a.bin")
    assert not path.exists()


def test_pkgutil(files: Traversable) -> None:
    assert pkgutil.get_data("sample_plugin", "data/a.bin") == b"\x00\xff"
    with pytest.raises(OSError, match="verified wheel"):
        pkgutil.get_data("sample_plugin", "ghost")
    with pytest.raises(OSError, match="verified wheel"):
        pkgutil.get_data("sample_plugin", "../../../etc/passwd")


def test_namespace_of_two_wheels(made: Make) -> None:
    made({"sample_space/one/__init__.py": "", "sample_space/data/one.txt": "1"}, name="first")
    made({"sample_space/two.py": "", "sample_space/data/two.txt": "2"}, name="second")
    data = importlib.resources.files("sample_space.data")
    assert {child.name: child.read_text() for child in data.iterdir()} == {"one.txt": "1", "two.txt": "2"}


def test_metadata(made: Make) -> None:
    made(
        PLUGIN, name="Sample.Plugin", version="1.2", metadata_lines=["Requires-Dist: attrs"], entry_points=ENTRY_POINTS
    )
    distribution = importlib.metadata.distribution("sample_plugin")
    assert distribution.version == importlib.metadata.version("SAMPLE-PLUGIN") == "1.2"
    assert importlib.metadata.requires("sample-plugin") == ["attrs"]
    assert distribution.metadata["Name"] == "Sample.Plugin"
    assert {point.name for point in distribution.entry_points} == {"sample", "evil"}
    assert distribution.read_text("ghost") is None
    listed = {str(path): path for path in distribution.files or ()}
    assert listed["sample_plugin/words.txt"].read_text() == "h\xe9llo\nworld\n"
    assert listed["sample_plugin/data/a.bin"].read_binary() == b"\x00\xff"


def test_own_entry_points_are_not_discovered(made: Make) -> None:
    made(PLUGIN, entry_points=ENTRY_POINTS)
    assert not [point for point in importlib.metadata.entry_points(group="loadlock.commands") if point.name == "evil"]
    assert "sample-plugin" not in {found.metadata["Name"] for found in importlib.metadata.distributions()}


def test_metadata_goes_with_the_registration(made: Make) -> None:
    registration = made(PLUGIN)
    registration.unregister()
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("sample-plugin")
