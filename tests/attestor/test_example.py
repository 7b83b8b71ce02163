"""The example plugin holds up by itself: its own tests pass, and its manifest says what it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

from tests.attestor.conftest import EXAMPLE
from verifier.formats.manifest import parse_manifest


def test_its_own_tests_pass() -> None:
    environ = os.environ | {"PYTHONPATH": str(EXAMPLE / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={EXAMPLE}", "tests"]
    done = subprocess.run(argv, cwd=EXAMPLE, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_manifest_and_project_agree() -> None:
    manifest = parse_manifest((EXAMPLE / "PLUGIN_MANIFEST.json").read_bytes())
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert manifest.plugin_id == project["name"].replace("-", "_")
    assert (manifest.version, manifest.description) == (project["version"], project["description"])
    assert manifest.entry_points == project["entry-points"]
    assert project["dependencies"] == list(manifest.host_provided)
