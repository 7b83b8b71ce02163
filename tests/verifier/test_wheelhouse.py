"""The host's wheelhouse: which files are looked at, and what becomes of those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import code_of
from verifier.formats.manifest import Dependency
from verifier.formats.text import Digest, Version
from verifier.wheels import wheelhouse
from verifier.wheels.wheelhouse import Wheelhouse

WANTED = Dependency(name="some-thing", version=Version("1.0"), sha256=Digest("sha256:" + "1" * 64))


def offered(directory: Path) -> list[tuple[str, bytes]]:
    return [*Wheelhouse(directory).offers(WANTED)]


@pytest.mark.parametrize(
    "name",
    ["some_thing-1.1-py3-none-any.whl", "some_thing-1.0.tar.gz", "something-1.0-py3-none-any.whl", "some_thing-1.0.whl",
     ".some_thing-1.0-py3-none-any.whl", "some_thing-1.0-py3-none-any.whl.attestations.jsonl", "x"],
)  # fmt: skip
def test_other_names_are_not_looked_at(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)  # whoever reads it is refused
    assert offered(tmp_path) == []


def test_all_wheels_of_the_name_and_version_are_offered(tmp_path: Path) -> None:
    names = ["Some_Thing-1.0-py2-none-any.whl", "some_thing-1.0-1-py3-none-x.whl", "some_thing-1.0-py3-none-any.whl"]
    for name in names:
        (tmp_path / name).write_text(name)
    assert offered(tmp_path) == [(name, name.encode()) for name in names]


def test_a_directory_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert offered(tmp_path / "absent") == []


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [_fifo, _directory, _loop])
def test_what_is_no_file_is_an_error_and_never_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "some_thing-1.0-py3-none-any.whl")
    assert code_of(lambda: offered(tmp_path)) == "io.failed"


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert code_of(lambda: offered(tmp_path / "file")) == "io.failed"


def test_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / f"some_thing-1.0-{number}-py3-none-any.whl").write_bytes(b"")
    monkeypatch.setattr(wheelhouse, "MAX_CANDIDATES", 3)
    assert len(offered(tmp_path)) == 3
    monkeypatch.setattr(wheelhouse, "MAX_ENTRIES", 3)
    assert code_of(lambda: offered(tmp_path)) == "format.too-large"


def test_a_wheel_over_the_cap(tmp_path: Path) -> None:
    place = tmp_path / "some_thing-1.0-py3-none-any.whl"
    with place.open("wb") as stream:
        stream.truncate((256 << 20) + 1)  # sparse
    assert code_of(lambda: offered(tmp_path)) == "format.too-large"
