"""A host that becomes a daemon: it leaves the directory that its paths were relative to, and closes all descriptors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import PACKAGE, ROOT, HostedDeployment
from tests.verifier.installations import install, sync

MODULES = {
    PACKAGE: "def hello():\n    from sample_plugin import late\n    return late.WORD\n",
    "sample_plugin/late.py": "WORD = 'hello'\n",
}
DAEMON = """
import os, sys
from pathlib import Path
from verifier import Gate
from verifier.judging.decide import Request

def become_a_daemon():
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.closerange(3, 1024)  # the three that are left are how the test hears of it
"""


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def started(place: Path, script: str) -> subprocess.Popen[str]:
    """A host that is started in a directory, and becomes a daemon on the way."""
    command = [sys.executable, "-W", "error", "-c", f"{DAEMON}\n{script}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=place, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def daemon(place: Path, script: str) -> str:
    """What such a host prints; of all that it leaves it misses its cache alone."""
    with started(place, script) as host:
        said, complaints = host.communicate(timeout=60)
    assert set(complaints.splitlines()) <= {"the cache is no longer used: its directory was closed from outside"}
    return said.strip()


LOAD = """
from verifier import private_directory
private_directory.SETTLED = -10**9  # files count as left alone at once
gate = Gate.open("host", cache="cache")
plugin = gate.load("wheels/{name}")
become_a_daemon()
print(plugin.entry_point("exporters", "hello")())
"""


def test_what_is_imported_late_is_still_there(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin(MODULES)
    for _ in range(3):  # the second start knows the wheel, and the third one its file
        assert daemon(tmp_path, LOAD.format(name=wheel.name)) == "hello"


def test_it_hears_of_a_revocation(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin(MODULES)
    script = """
gate = Gate.open("host", cache="cache")
plugin = gate.load("wheels/{name}")
become_a_daemon()
print("ready", flush=True)
input()
gate.refresh()
print(gate.ground.warnings, plugin.revoked)
"""
    with started(tmp_path, script.format(name=wheel.name)) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        hosted.revoke(wheel)
        said, _ = host.communicate("go\n", timeout=60)
    assert said.startswith("() [revoked.artifact]")


def test_dependencies_are_found(hosted: HostedDeployment, tmp_path: Path) -> None:
    dependency = hosted.dependency("leftpad")
    wheel = hosted.plugin({PACKAGE: "import leftpad\ndef hello(): return leftpad.VERSION\n"}, locks=[dependency])
    script = """
gate = Gate.open("host", cache="cache", wheelhouse="host/wheels")
become_a_daemon()
print(gate.load("{path}").entry_point("exporters", "hello")())
"""
    assert daemon(tmp_path, script.format(path=wheel)) == "1.0"


def test_what_is_installed_below_a_relative_path_is_still_there(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin(MODULES)
    hosted.policy("tiers.core.assurance", "installed")
    hosted.refresh()
    sync(hosted, install(tmp_path / "site", wheel))
    script = """
sys.path.insert(0, "site")
gate = Gate.open("host", cache="cache")
plugin = gate.load_installed("sample-plugin")
become_a_daemon()
print(plugin.entry_point("exporters", "hello")())
"""
    assert daemon(tmp_path, script) == "hello"
