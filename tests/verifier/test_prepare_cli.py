"""``loadlock host prepare``: what it lays out, what it leaves alone, and that hosts by the same settings run that."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment
from tests.verifier.importing.children import DROP, run_child
from tests.verifier.importing.conftest import as_root, bare, compiled
from tests.verifier.test_plugins_cli import Told, run
from tests.wheels import build_wheel
from verifier import private_directory
from verifier.errors import LoadlockError
from verifier.hosting import Plugins
from verifier.importing import prepared, sealed

__all__ = ["as_root", "bare"]

pytestmark = pytest.mark.usefixtures("as_root")

MODULE = "sample_plugin/rpds.abi3.so"


@pytest.fixture(scope="module")
def library() -> bytes:
    return compiled("rpds.rpds")


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def laid(hosted: HostedDeployment, tmp_path: Path) -> Path:
    """Where the host's settings have its libraries lie."""
    settings(hosted, f'cache = "{tmp_path / "cache"}"\nlibraries = "{tmp_path / "laid"}"\n')
    return tmp_path / "laid"


def settings(hosted: HostedDeployment, text: str) -> None:
    (hosted.directory / "loadlock.toml").write_text(f'plugins = ["{hosted.wheels}"]\nwatch = false\n{text}')


def prepare(hosted: HostedDeployment) -> Told:
    status, told = run(hosted, "host", "prepare")
    assert (status == 0) is told.value["ok"]
    return told


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_libraries_of_plugins_and_dependencies_are_laid_out(
    hosted: HostedDeployment, laid: Path, library: bytes
) -> None:
    hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library, "sample.libs/libx.so.1.0.2k": b"other"})
    (hosted.directory / "wheels").mkdir()
    wheel = build_wheel({"dep/a.so": library, "dep/b.so": b"a dependency's"}, name="dep")
    (hosted.directory / "wheels" / wheel.file_name).write_bytes(wheel.data)
    told = prepare(hosted)
    expected = sorted(map(sha256, (library, b"other", b"a dependency's")))
    assert sorted(path.name for path in laid.iterdir()) == told.value["libraries"] == expected
    for path in laid.iterdir():
        assert sha256(path.read_bytes()) == path.name
        assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o444, 0)
    assert (laid.stat().st_mode & 0o777, told.value["made"]) == (0o755, 3)


def test_what_lies_there_already_is_not_written_again(hosted: HostedDeployment, laid: Path, library: bytes) -> None:
    """Each host would have to hash it again."""
    hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library})
    prepare(hosted)
    [path] = laid.iterdir()
    before = path.stat()
    assert prepare(hosted).value["made"] == 0
    assert path.stat() == before
    for damaged in (library[:-1], library + b"x", b"y" + library[1:]):
        path.chmod(0o644)
        path.write_bytes(damaged)
        assert prepare(hosted).value["made"] == 1
        assert path.read_bytes() == library
    path.chmod(0o666)
    assert prepare(hosted).value["made"] == 1
    assert path.stat().st_mode & 0o777 == 0o444


def test_what_no_wheel_brings_any_more_is_removed_and_nothing_else(
    hosted: HostedDeployment, laid: Path, library: bytes
) -> None:
    wheel = hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library})
    prepare(hosted)
    kept = [laid / "README", laid / ("a" * 63), laid / f"{'a' * 64}.so"]
    for path in kept:
        path.write_text("somebody's")
    wheel.unlink()
    assert prepare(hosted).value["removed"] == 1
    assert sorted(laid.iterdir()) == sorted(kept)


def test_what_is_no_wheel_is_told_and_the_others_are_laid_out(
    hosted: HostedDeployment, laid: Path, library: bytes
) -> None:
    hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library})
    (hosted.wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    told = prepare(hosted)
    assert told.value["libraries"] == [sha256(library)]
    assert [(row["file"], row["error"]["code"]) for row in told.value["refused"]] == [
        ("broken-1.0-py3-none-any.whl", "wheel.archive")
    ]


def refusal(hosted: HostedDeployment) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        run(hosted, "host", "prepare")
    assert caught.value.code == "usage.configuration"
    return caught.value


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o777), lambda path: os.chown(path, 65534, -1)])
def test_a_directory_of_others_is_refused(hosted: HostedDeployment, laid: Path, change: Callable[[Path], None]) -> None:
    laid.mkdir()
    change(laid)
    assert "not root's alone" in str(refusal(hosted).found)


def test_nothing_is_made_where_others_could_put_a_link(hosted: HostedDeployment, tmp_path: Path) -> None:
    """Root would make it, and set its mode, wherever that link leads by then."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, -1)
    settings(hosted, f'cache = "{tmp_path / "cache"}"\nlibraries = "{tmp_path}/theirs/a/b"\n')
    assert "theirs is not root's alone" in str(refusal(hosted).found)
    assert list((tmp_path / "theirs").iterdir()) == []


def test_what_is_made_everybody_may_read_and_root_alone_change(hosted: HostedDeployment, tmp_path: Path) -> None:
    settings(hosted, f'cache = "{tmp_path / "cache"}"\nlibraries = "{tmp_path}/link/a/b"\n')
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    before = os.umask(0o077)
    try:
        prepare(hosted)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "place").rglob("*")} == {0o755}


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.chown(file, 65534, -1),
        lambda file: file.chmod(0o666),
        lambda file: os.chown(file.parent, 65534, -1),
        lambda file: file.symlink_to(file.rename(file.with_name("other"))),
    ],
)
def test_root_writes_nowhere_at_the_word_of_others(
    hosted: HostedDeployment, laid: Path, change: Callable[[Path], None]
) -> None:
    """Else who can write the settings has files made in, and removed from, whichever directory of root."""
    laid.mkdir()
    (laid / ("a" * 64)).touch()
    change(hosted.directory / "loadlock.toml")
    error = refusal(hosted)
    assert error.what == "these settings cannot say where root is to write"
    assert " is not root's alone: user " in str(error.found)
    assert [path.name for path in laid.iterdir()] == ["a" * 64]


def test_a_file_that_somebody_can_write_to_still_is_written_anew(
    hosted: HostedDeployment, laid: Path, library: bytes
) -> None:
    """Who opened it before it was root's needs no permission any more."""
    hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library})
    prepare(hosted)
    [path] = laid.iterdir()
    with path.open("r+b") as stream:
        assert prepare(hosted).value["made"] == 1
        stream.write(b"other")
    assert path.read_bytes() == library
    assert prepare(hosted).value["made"] == 0


def test_a_directory_of_plugins_that_is_not_there_is_no_empty_one(
    hosted: HostedDeployment, laid: Path, library: bytes
) -> None:
    hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library})
    prepare(hosted)
    hosted.wheels.rename(hosted.wheels.with_name("elsewhere"))
    assert "is not there" in refusal(hosted).what
    assert len(list(laid.iterdir())) == 1


def test_settings_that_name_no_directory_are_refused(hosted: HostedDeployment) -> None:
    missing = refusal(hosted)
    assert "no loadlock.toml in" in str(missing.found)
    settings(hosted, "")
    silent = refusal(hosted)
    assert silent.found == "loadlock.toml without libraries"
    assert "do not say where libraries" in missing.what == silent.what


def test_settings_with_libraries_and_no_cache_are_refused(hosted: HostedDeployment) -> None:
    settings(hosted, 'libraries = "laid"\n')
    assert "libraries without cache" in str(refusal(hosted).found)


def test_only_root_can(bare: Path, hosted: HostedDeployment, laid: Path) -> None:
    code = f"""
import argparse, os
from verifier.commands.prepare import COMMAND
from verifier.errors import UsageError
{DROP}
try:
    COMMAND.run(argparse.Namespace(settings=None, deployment=None), None)
except UsageError as error:
    print(error.code, error.what)
"""
    assert run_child(bare, code, []) == "usage.arguments only root can lay out what hosts cannot change\n"


def test_a_host_by_these_settings_runs_what_was_laid_out(
    hosted: HostedDeployment, laid: Path, library: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it runs it as another user only is held by ``test_prepared.py``, with such a user."""
    hosted.plugin(
        {"sample_plugin/__init__.py": "from sample_plugin import rpds", MODULE: library},
        entry_points={"sample": {"x": "sample_plugin:rpds"}},
    )
    prepare(hosted)
    monkeypatch.setattr(prepared, "require_powerless", lambda: None)
    monkeypatch.setattr(private_directory, "SETTLED", -(10**10))
    before = set(sealed._FILES)
    plugins = Plugins.open(hosted.directory)
    hosted.gates.append(plugins.gate)
    [point] = plugins.entry_points("sample")
    assert callable(point.load().HashTrieMap)
    assert [sealed._FILES[key].origin for key in sealed._FILES.keys() - before] == ["prepared"]


def test_the_doctor_misses_what_was_not_laid_out(hosted: HostedDeployment, laid: Path, library: bytes) -> None:
    def unprepared() -> list[str]:
        symptoms = run(hosted, "plugins", "doctor")[1].value["symptoms"]
        return [symptom["what"] for symptom in symptoms if symptom["name"] == "unprepared"]

    assert ["no prepared library is used: No such file" in what for what in unprepared()] == [True]
    prepare(hosted)
    hosted.plugin({"sample_plugin/__init__.py": "", MODULE: library})
    assert [f"{MODULE}: No such file" in what for what in unprepared()] == [True]
    prepare(hosted)
    assert unprepared() == []
    (laid / sha256(library)).chmod(0o666)
    assert ["mode 0666" in what for what in unprepared()] == [True]
