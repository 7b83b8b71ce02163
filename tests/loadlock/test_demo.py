"""The demo does what it tells, connects to nothing beyond loopback, and the README shows what it prints."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from loadlock import attacks, demo
from loadlock.cli import invoke
from loadlock.stage import Recorder
from tests.project.tree import ROOT

ATTACKS = {
    "unsigned": "set.missing",
    "tampered wheel": "subject.digest",
    "manifest swapped": "subject.digest",
    "signer of another plugin": "signature.wrong-signer",
    "stale list": "list.stale",
    "rolled-back list": "list.rollback",
    "list of another deployment": "list.deployment",
    "revoked": "revoked.artifact",
    "running while revoked": "plugin.revoked",
}

# Brings the loopback interface of a fresh network namespace up (SIOCGIFFLAGS, SIOCSIFFLAGS), then becomes the demo.
ISOLATED = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    flags = struct.unpack("16sh", fcntl.ioctl(s, 0x8913, struct.pack("16sh", b"lo", 0)))[1]
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", flags | 1))
os.execv(sys.executable, [sys.executable, "-m", "loadlock", "demo", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The wheels that the example's build needs; fetched by hash when set-up has not done so."""
    prepared = os.environ.get("LOADLOCK_DEMO_WHEELHOUSE")
    if prepared:
        return str((ROOT / prepared).resolve())
    folder = tmp_path_factory.mktemp("build-wheels")
    lock = ROOT / "examples" / "csv-exporter" / "build-requirements.lock"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--require-hashes", "--requirement", str(lock), "--dest", str(folder)], check=True)
    return str(folder)


def test_every_step_ends_as_it_should_with_no_network_but_loopback(house: str) -> None:
    unshare = shutil.which("unshare")
    assert unshare is not None, "util-linux is part of every Linux distribution"
    done = subprocess.run(
        [unshare, "-rn", sys.executable, "-c", ISOLATED, "--json", "--build-wheelhouse", house],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert story["ok"] is True
    assert {tuple(sorted(step)) for step in story["steps"]} == {("code", "expected", "ms", "name", "outcome")}
    refused = {step["name"]: step["code"] for step in story["steps"] if step["outcome"] == "refused"}
    assert refused == ATTACKS
    assert all(step["outcome"] == "ok" for step in story["steps"] if step["name"] not in ATTACKS)


def test_what_is_installed_from_the_wheel_plays_it_too(house: str, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "loadlock", "demo", "--json", "--build-wheelhouse", house],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_a_refusal_that_does_not_happen_fails_the_demo(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "tampered", attacks.copy_of)
    # The chapter that imports the plugin is left out, so that this process stays as it is.
    monkeypatch.setattr(demo, "_run", lambda _: None)
    monkeypatch.setattr(demo, "_call_again", lambda _: None)
    recorder = Recorder()
    assert invoke(["demo", "--build-wheelhouse", house], recorder) == 1
    wrong = [step["name"] for step in recorder.value["steps"] if step["expected"] != (step["code"] or "ok")]
    assert wrong == ["tampered wheel", "running while revoked"]
    assert recorder.value["ok"] is False


def normalised(text: str) -> str:
    """Text without what differs between two runs."""
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<moment>", text)
    text = re.sub(r" +\d+\.\d\d s$", " <time> s", text, flags=re.MULTILINE)
    return re.sub(r"\d+ bytes", "<count> bytes", text)


def block_after(document: Path, heading: str) -> str:
    """The first fenced block after a heading."""
    section = document.read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    assert section, f"{document.name} has no heading {heading!r}"
    return section.split("```")[1].partition("\n")[2]


def test_the_readme_shows_what_the_demo_prints(house: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadlock", "demo", "--build-wheelhouse", house],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    story = [line for line in done.stdout.splitlines() if not line.startswith("      ")]
    shown = block_after(ROOT / "README.md", "### What it prints").splitlines()
    assert normalised("\n".join(shown)) == normalised("\n".join(story))
    refusal = block_after(ROOT / "README.md", "### What a refusal says")
    assert normalised(refusal).rstrip() in normalised(re.sub(r"(?m)^ {6}", "", done.stdout))
