"""Locked wheels collected, and their SBOM embedded by the project's own build backend, through the command."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from attestor.commands.places import WheelFiles
from tests.attestor.conftest import EXAMPLE, Signers, git, make_repository
from tests.attestor.test_cli import WHEEL, run
from tests.wheels import Wheel, build_wheel
from verifier.errors import Refused

LEFTPAD = build_wheel({"leftpad.py": ""}, name="leftpad", metadata_lines=["License: MIT", "Requires-Dist: deeper"])
DEEPER = build_wheel({"deeper.py": ""}, name="deeper")
EMBEDDED = "sboms/dependencies.cdx.json"


@pytest.fixture
def shelf(build_wheels: Path, tmp_path: Path) -> Path:
    """The wheels of the build backend and of two dependencies, one of which nobody asks for."""
    folder = tmp_path / "shelf"
    shutil.copytree(build_wheels, folder)
    for wheel in (LEFTPAD, DEEPER, build_wheel({"other.py": ""}, name="other")):
        put(folder, wheel)
    return folder


def put(folder: Path, wheel: Wheel) -> None:
    (folder / wheel.file_name).write_bytes(wheel.data)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example plugin, with a dependency and a place for the SBOM, committed."""
    place = tmp_path / "project"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("__pycache__"))
    settings = (place / "pyproject.toml").read_text()
    settings = settings.replace("dependencies = []", 'dependencies = ["leftpad"]')
    settings = settings.replace(
        "[tool.hatch.build.targets.wheel]\n", f'[tool.hatch.build.targets.wheel]\nsbom-files = ["{EMBEDDED}"]\n'
    )
    (place / "pyproject.toml").write_text(settings)
    manifest = json.loads((place / "PLUGIN_MANIFEST.json").read_text())
    (place / "PLUGIN_MANIFEST.json").write_text(json.dumps({**manifest, "sdk_allowlist": ["leftpad", "deeper"]}))
    (place / "sboms").mkdir()
    (place / EMBEDDED).write_text("{}")
    return make_repository(place)


def test_an_sbom_that_the_build_embeds(project: Path, shelf: Path, signers: Signers, tmp_path: Path) -> None:
    dist, house = tmp_path / "dist", tmp_path / "wheels"
    words = [
        "attest", project, "-o", dist, "--build-wheelhouse", shelf, "--key", signers.place / "builder.pem", "--once",
        "--wheelhouse", house, "--sbom-version", "1.7", "--embed-sbom", project / EMBEDDED,
    ]  # fmt: skip
    with pytest.raises(Refused) as caught:
        run(*map(str, words))
    assert caught.value.code == "sbom.embedded"
    assert "sboms/dependencies.cdx.json" in caught.value.found
    assert "commit it" in caught.value.todo
    assert not dist.exists()
    assert not house.exists()
    assert [part["name"] for part in json.loads((project / EMBEDDED).read_text())["components"]] == [
        "deeper",
        "leftpad",
    ]

    git(project, "commit", "--all", "--quiet", "--message=embed")
    done = run(*map(str, words))
    assert done.value["locked"] == [DEEPER.file_name, LEFTPAD.file_name]
    assert {path.name: path.read_bytes() for path in house.iterdir()} == {
        DEEPER.file_name: DEEPER.data,
        LEFTPAD.file_name: LEFTPAD.data,
    }
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        inside = wheel.read("csv_exporter-1.0.0.dist-info/sboms/dependencies.cdx.json")
    assert inside == (project / EMBEDDED).read_bytes()
    manifest = json.loads(WheelFiles(dist / WHEEL).unsigned.read_bytes())["predicate"]
    assert manifest["dependencies"] == [
        {"name": "deeper", "version": "1.0", "sha256": DEEPER.digest},
        {"name": "leftpad", "version": "1.0", "sha256": LEFTPAD.digest},
    ]
