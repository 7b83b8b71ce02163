"""The Makefile and the scripts behind it do their work once, and say what they leave out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.tree import ROOT

LOCK = "requirements/dev.lock"
PROGRAMS = (
    "chromium", "diffoscope", "git", "nginx", "npm", "pg_ctlcluster", "promtool", "rsync",
    "softhsm2-util", "systemd-analyze",
)  # fmt: skip
HOUSE_LOCK = "examples/csv-exporter/build-requirements.lock"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A tree with what the Makefile looks at, its times as after a clone: all alike."""
    for name in ("Makefile", "pyproject.toml", LOCK, HOUSE_LOCK):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        os.utime(target, (1_700_000_000, 1_700_000_000))
    return tmp_path


def installed(checkout: Path, *, at: int) -> None:
    """Pretend that set-up was done at a time."""
    house = checkout / ".venv" / "build-wheels"
    house.mkdir(parents=True)
    for made, later in ((checkout / ".venv" / ".installed", 0), (house, 1)):
        made.touch()
        os.utime(made, (at + later, at + later))


def would_run(checkout: Path, target: str) -> str:
    """The commands that ``make`` would run."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--dry-run", target], cwd=checkout, env=environ, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_first_time_installs_everything_by_hash(checkout: Path, target: str) -> None:
    commands = would_run(checkout, target)
    assert f"pip install --quiet --disable-pip-version-check --require-hashes --requirement {LOCK}" in commands
    assert "--no-deps --no-build-isolation --editable ." in commands
    assert f"--require-hashes --requirement {HOUSE_LOCK} --dest .venv/build-wheels" in commands


def test_second_time_only_runs(checkout: Path) -> None:
    installed(checkout, at=1_800_000_000)
    assert would_run(checkout, "demo").splitlines() == [".venv/bin/loadlock demo --build-wheelhouse .venv/build-wheels"]


@pytest.mark.parametrize("name", [LOCK, HOUSE_LOCK, "pyproject.toml"])
def test_a_change_installs_again(checkout: Path, name: str) -> None:
    installed(checkout, at=1_800_000_000)
    os.utime(checkout / name, (1_900_000_000, 1_900_000_000))
    assert "--require-hashes" in would_run(checkout, "demo")


def test_without_a_python_that_is_new_enough_one_line_says_so(checkout: Path) -> None:
    done = subprocess.run(["make", "setup", "PYTHON="], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no Python 3.11 or newer with venv and pip found" in done.stderr


def system_packages(folder: Path, *programs: str, ci: bool) -> subprocess.CompletedProcess[str]:
    """Run the script with nothing but some programs on PATH: neither apt-get nor what it looks for among them."""
    for program in ("sort", *programs):
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    script = folder / "id"
    script.write_text("#!/bin/sh\necho 1000\n", encoding="ascii")
    script.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    environ = {"PATH": str(folder), "CI": "true" if ci else "false"}
    return subprocess.run(
        [bash, str(ROOT / "tools" / "system_packages.sh")], env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("ci", "status"), [(False, 0), (True, 1)])
def test_a_missing_program_is_named_in_one_line_and_is_an_error_in_ci(tmp_path: Path, ci: bool, status: int) -> None:
    done = system_packages(tmp_path, ci=ci)
    assert done.returncode == status
    needed = "chromium diffoscope-minimal git nginx-light npm postgresql prometheus rsync softhsm2 systemd"
    assert done.stderr == f"left out: tests that need {needed} (on Debian: apt-get install {needed})\n"


def test_nothing_is_said_when_everything_is_there(tmp_path: Path) -> None:
    done = system_packages(tmp_path, *PROGRAMS, ci=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
