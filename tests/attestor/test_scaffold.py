"""A new plugin's first files: they pass their own tests, validation and attestation, and refuse what they should."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from attestor.building.wheelhouse import Wheelhouse
from attestor.pipeline import Options, attest_source
from tests.attestor.conftest import NOW, Signers, git
from tests.attestor.test_cli import code_of, run
from tests.project.tree import ROOT


def made(place: Path, *more: str) -> Path:
    run("init-plugin", place, "--owner", "team-a", *more)
    return place


def own_tests(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={place}", *arguments]
    return subprocess.run(argv, cwd=place, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize(
    "words",
    [
        ("x", "--owner", "Team A"),
        ("x", "--owner", "a", "--name", "über"),
        ("x", "--owner", "a", "--name", "9lives"),
        ("x", "--owner", "a", "--name", "../x"),
        ("x", "--owner", "a", "--description", 'a "quote"'),
        ("x", "--owner", "a", "--description", "$name"),
        ("x", "--owner", "a", "--description", ""),
        ("x", "--owner", "a", "--ci", "jenkins"),
    ],
)
def test_what_makes_no_plugin_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert code_of("init-plugin", *words) == "usage.arguments"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").touch()
    assert code_of("init-plugin", tmp_path / "x", "--owner", "a") == "usage.exists"
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine"]


def test_its_own_tests_pass_and_break_when_the_plugin_does(tmp_path: Path) -> None:
    place = made(tmp_path / "row-archiver")
    done = own_tests(place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
    assert "7 passed" in own_tests(place, "-m", "egress").stdout
    code = place / "src" / "row_archiver" / "__init__.py"
    broken = code.read_text().replace("if _origin(address) != _origin(ADDRESS):", "if not address:")
    code.write_text(broken)
    assert own_tests(place).returncode == 1


def test_it_validates_and_attests_as_it_is(tmp_path: Path, house: Wheelhouse, signers: Signers) -> None:
    place = made(tmp_path / "row-archiver", "--description", "Keeps rows.", "--ci", "none")
    assert run("validate", place, "--strict").value["problems"] == []
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=first")
    attested = attest_source(place, Options(house=house), signers.builder, now=NOW)
    manifest = attested.manifest
    assert (manifest.plugin_id, manifest.owner, manifest.description) == ("row_archiver", "team-a", "Keeps rows.")
    (tmp_path / attested.file_name).write_bytes(attested.wheel)
    with zipfile.ZipFile(tmp_path / attested.file_name) as wheel:
        assert "row_archiver/PLUGIN_MANIFEST.json" in wheel.namelist()


@pytest.mark.parametrize(
    ("system", "file", "template"),
    [
        ("github", ".github/workflows/loadlock.yml", "github/loadlock.yml"),
        ("gitlab", "ci/loadlock.gitlab-ci.yml", "gitlab/loadlock.gitlab-ci.yml"),
        ("azure", "loadlock.azure-pipelines.yml", "azure/loadlock.azure-pipelines.yml"),
    ],
)
def test_the_pipeline_is_the_template(tmp_path: Path, system: str, file: str, template: str) -> None:
    place = made(tmp_path / "x", "--ci", system)
    assert (place / file).read_bytes() == (ROOT / "ci-templates" / template).read_bytes()
    if system == "gitlab":
        assert "ci/loadlock.gitlab-ci.yml" in (place / ".gitlab-ci.yml").read_text()
