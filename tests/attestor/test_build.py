"""Building: locked, cut off, the same bytes every time; and what refuses."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from attestor.building import environment
from attestor.building.apart import without_network
from attestor.building.build import BuildResult, build
from attestor.building.source import describe
from attestor.building.wheelhouse import Wheelhouse
from tests.attestor.conftest import COMMIT_TIME, NOW, Project, make_repository
from tests.attestor.test_environment import running_with
from verifier.errors import LoadlockError, Refused

IN_TREE = """\
[build-system]
requires = {requires}
build-backend = "backend"
backend-path = ["."]
"""

BACKEND = """\
import os, zipfile
{body}
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    work(config_settings)
    name = "probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("probe.txt"), repr(facts()))
    return name
def work(settings): {work}
def facts(): return {facts}
"""


def probe(work: str = "pass", facts: str = "None", body: str = "", requires: str = "[]") -> dict[str, str]:
    """A project whose own build backend does ``work`` and writes the value of ``facts`` into the wheel."""
    return {
        "pyproject.toml": IN_TREE.format(requires=requires),
        "backend.py": BACKEND.format(work=work, facts=facts, body=body),
    }


def seen(result: BuildResult) -> str:
    with zipfile.ZipFile(io.BytesIO(result.wheel)) as wheel:
        return wheel.read("probe.txt").decode()


def refusal(place: Path, house: Wheelhouse) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        build(describe(place), house, now=NOW)
    return caught.value


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["not toml [", "[build-system]\nrequires = 'hatchling'\n"])
def test_a_broken_pyproject_is_refused(project: Project, house: Wheelhouse, text: str) -> None:
    assert refusal(project({"pyproject.toml": text}), house).code == "build.failed"


def test_a_directory_that_is_no_project_is_refused(project: Project, house: Wheelhouse) -> None:
    assert refusal(project({"notes.txt": ""}), house).code == "build.failed"


def test_a_failing_build_is_refused_with_its_last_words(project: Project, house: Wheelhouse) -> None:
    error = refusal(project(probe(work="raise SystemExit('out of cheese')")), house)
    assert error.code == "build.failed"
    assert "out of cheese" in error.found


def test_a_build_that_takes_too_long_is_ended(
    project: Project, house: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "BUILD_SECONDS", 1.0)
    error = refusal(project(probe(work="__import__('time').sleep(60)")), house)
    assert error.code == "build.failed"
    assert "took over" in error.what


@pytest.mark.parametrize(
    "requires",
    ['["no-such-thing-as-this>=1"]', '["hatchling<0.0.1"]', '["x @ https://host.example/x.whl"]', '["--index-url x"]'],
)
def test_requirements_that_cannot_be_locked_are_refused(project: Project, house: Wheelhouse, requires: str) -> None:
    assert refusal(project(probe(requires=requires)), house).code == "build.unlocked"


def test_requirements_of_the_second_phase_are_locked_too(project: Project, house: Wheelhouse) -> None:
    body = "def get_requires_for_build_wheel(config_settings=None): return ['no-such-thing-as-this']"
    assert refusal(project(probe(body=body)), house).code == "build.unlocked"


def test_a_wheel_that_was_swapped_after_locking_is_refused(
    project: Project, house: Wheelhouse, build_wheels: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for wheel in build_wheels.iterdir():
        (folder / wheel.name).write_bytes(wheel.read_bytes())
    own = replace(house, folder=folder)
    locked = own.resolve(["hatchling"])
    with (folder / locked[0].file_name).open("ab") as stream:
        stream.write(b"\0")
    (tmp_path / "into").mkdir()
    with pytest.raises(Refused) as caught:
        own.fetch(locked, tmp_path / "into")
    assert caught.value.code == "build.unlocked"


# -- what a build is given ---------------------------------------------------------------------------------------------


def test_the_build_has_no_network_where_the_system_can_cut_it(project: Project, house: Wheelhouse) -> None:
    facts = "__import__('socket').socket().connect_ex(('127.0.0.1', 9))"
    result = build(describe(project(probe(facts=facts))), house, now=NOW)
    if without_network().network == "none":
        assert result.fixed.network == "none"
        assert seen(result) == str(101)  # ENETUNREACH: not even loopback is there
    else:
        assert result.fixed.network == "not-cut"


def test_a_build_sees_nothing_of_this_machines_environment(
    project: Project, house: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADLOCK_KEY_PASSPHRASE", "hunter2")
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@index.example/simple")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    facts = "sorted(n for n in os.environ if not n.startswith(('PEP517', '_PYPROJECT')))"
    names = seen(build(describe(project(probe(facts=facts))), house, now=NOW))
    assert names == repr(
        ["HOME", "LANG", "LC_ALL", "PATH", "PYTHONHASHSEED", "PYTHONNOUSERSITE", "SOURCE_DATE_EPOCH", "TMPDIR", "TZ",
         "VIRTUAL_ENV"]
    )  # fmt: skip


def test_a_build_reads_no_other_processes_and_leaves_none(project: Project, house: Wheelhouse) -> None:
    """What a variable that was unset hides, /proc shows to every process of the same user; a daemon is in no group."""
    leave = "__import__('subprocess').Popen(['sleep', '1.805'], start_new_session=True)"
    readable = "n.isdigit() and os.access(f'/proc/{n}/environ', os.R_OK)"
    facts = f"[n for n in os.listdir('/proc') if {readable} and 'PYTEST' in open(f'/proc/{{n}}/environ').read()]"
    result = build(describe(project(probe(work=leave, facts=facts))), house, now=NOW)
    if without_network().processes == "own":
        assert result.fixed.processes == "own"
        assert seen(result) == "[]"
        assert not running_with(b"1.805")
    else:
        assert result.fixed.processes == "shared"


def test_umask_and_time_are_fixed(project: Project, house: Wheelhouse) -> None:
    ours = os.umask(0o077)
    try:
        facts = "(os.umask(0), os.environ['SOURCE_DATE_EPOCH'])"
        result = build(describe(project(probe(facts=facts))), house, now=NOW)
    finally:
        os.umask(ours)
    assert seen(result) == repr((0o022, str(COMMIT_TIME)))


def test_config_settings_reach_the_backend_and_the_record(project: Project, house: Wheelhouse) -> None:
    files = probe(work="globals().update(settings=settings)", facts="settings")
    result = build(describe(project(files)), house, now=NOW, config_settings={"level": "9"})
    assert seen(result) == "{'level': '9'}"
    assert result.config_settings == {"level": "9"}


def test_what_the_backend_warns_of_goes_into_the_log(project: Project, house: Wheelhouse) -> None:
    files = probe(work="__import__('warnings').warn('out of fashion')")
    assert b"out of fashion" in build(describe(project(files)), house, now=NOW).log


# -- the example plugin ------------------------------------------------------------------------------------------------


def test_the_example_builds_and_every_input_is_recorded(built: BuildResult, build_wheels: Path) -> None:
    assert built.file_name == "csv_exporter-1.0.0-py3-none-any.whl"
    assert {wheel.name for wheel in built.inputs} >= {"hatchling", "packaging", "pathspec", "pluggy"}
    for wheel in built.inputs:
        assert hashlib.sha256((build_wheels / wheel.file_name).read_bytes()).hexdigest() == wheel.sha256
    assert built.started == NOW
    assert built.finished >= NOW
    assert len(built.interpreter.sha256) == 64
    assert built.interpreter.zlib


def test_the_same_commit_gives_the_same_bytes_elsewhere(
    built: BuildResult, house: Wheelhouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = make_repository(tmp_path / "another é place", content=Path(__file__).parents[2] / "examples/csv-exporter")
    again = build(describe(place), house, now=NOW)
    assert again.sha256 == built.sha256
