"""What is shipped: the wheel holds the four packages and nothing else; the sdist is enough to test from."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path

import pytest

from loadlock.cli import MODULES
from tests.project.tree import PACKAGES, ROOT, pyproject, tracked


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from this tree without a network."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> dict[str, str]:
    """The wheel's files: name → text."""
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode("utf-8", errors="replace") for name in archive.namelist()}


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: dict[str, str]) -> None:
    assert {name.partition("/")[0] for name in wheel} == {*PACKAGES, "loadlock-0.1.0.dist-info"}
    of_packages = {str(path.relative_to(ROOT)) for path in tracked() if path.relative_to(ROOT).parts[0] in PACKAGES}
    assert of_packages <= set(wheel)


@pytest.mark.parametrize(
    ("source", "inside"), [("ci-templates", "attestor/ci_templates"), ("examples/csv-exporter", "loadlock/example")]
)
def test_the_wheel_brings_what_commands_copy(wheel: dict[str, str], source: str, inside: str) -> None:
    paths = [path for path in tracked() if path.is_relative_to(ROOT / source)]
    assert paths
    for path in paths:
        assert wheel[f"{inside}/{path.relative_to(ROOT / source).as_posix()}"] == path.read_text(encoding="utf-8")


def test_the_wheel_brings_the_command_and_its_parts(wheel: dict[str, str]) -> None:
    points = ConfigParser()
    points.read_string(wheel["loadlock-0.1.0.dist-info/entry_points.txt"])
    assert dict(points["console_scripts"]) == {"loadlock": "loadlock.cli:main"}
    assert set(points) == {"DEFAULT", "console_scripts", "pytest11"}
    assert all(f"{module.replace('.', '/')}.py" in wheel for module in MODULES.values())


def test_the_wheel_states_licence_and_python(wheel: dict[str, str]) -> None:
    metadata = message_from_string(wheel["loadlock-0.1.0.dist-info/METADATA"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "loadlock-0.1.0.dist-info/licenses/LICENSE" in wheel


def test_the_sdist_has_what_a_build_and_the_tests_need(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    left_out = {".ci", ".gitignore"}
    expected = {str(path.relative_to(ROOT)) for path in tracked() if path.relative_to(ROOT).parts[0] not in left_out}
    assert expected <= names


def test_the_version_has_a_place_in_the_changelog() -> None:
    assert f"\n## {pyproject()['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
