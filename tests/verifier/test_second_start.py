"""What a host imports that starts for the second time: nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment

START = """
import json, sys
sys.modules["typing_extensions"] = None  # which msgspec imports wherever it finds it
from verifier import Gate
gate = Gate.open(sys.argv[1], cache=sys.argv[2])
opened = sorted(sys.modules)
assert gate.load(sys.argv[3]).entry_point("exporters", "hello").load()() == "hello"
print(json.dumps([opened, sorted(sys.modules)]))
"""
COLLECTING = """
import gc, sys
import verifier
before, looked = gc.get_threshold(), []
gc.callbacks.append(lambda phase, of: looked.append(of["generation"]))
from verifier import Gate
gate = Gate.open(sys.argv[1], cache=sys.argv[2])
assert not looked, looked
assert gc.get_threshold() == before
"""
FOR_WHAT_IS_NEW = {
    "cryptography.hazmat", "packaging.requirements", "packaging.specifiers", "packaging.tags", "packaging.utils",
    "packaging.version", "securesystemslib", "sigstore", "tuf",
}  # fmt: skip
"""What nobody needs who has seen all of it before."""
FOR_NOTHING = {
    "argparse", "concurrent.futures", "csv", "dataclasses", "email", "inspect", "shutil", "socket", "ssl",
    "subprocess", "tempfile", "urllib.request", "verifier.command", "verifier.formats.bundle",
    "verifier.formats.material", "verifier.formats.push", "verifier.formats.release", "verifier.importing.libraries",
    "verifier.installed.attested", "verifier.installed.unattested",
}  # fmt: skip
"""What takes long to import, and has no part in a start."""


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def start(hosted: HostedDeployment, cache: Path, wheel: Path) -> list[set[str]]:
    """The modules that a host of its own holds when the gate is open, and when a plugin has answered."""
    command = [sys.executable, "-I", "-c", START, str(hosted.directory), str(cache), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [set(names) for names in json.loads(done.stdout)]


def test_a_second_start_imports_nothing_for_what_it_knows(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin()
    _, first = start(hosted, tmp_path / "cache", wheel)
    assert {"cryptography.hazmat", "tuf"} <= first
    for loaded in start(hosted, tmp_path / "cache", wheel):
        assert loaded & (FOR_WHAT_IS_NEW | FOR_NOTHING) == set()


def test_what_is_new_is_judged_with_all_that_it_takes(hosted: HostedDeployment, tmp_path: Path) -> None:
    known, new = hosted.plugin(version="1.0"), hosted.plugin(version="1.1rc1")
    start(hosted, tmp_path / "cache", known)
    opened, loaded = start(hosted, tmp_path / "cache", new)
    assert opened & FOR_WHAT_IS_NEW == set()
    assert {"cryptography.hazmat", "packaging.version"} <= loaded


def test_the_collector_does_not_look_while_a_gate_opens(hosted: HostedDeployment, tmp_path: Path) -> None:
    start(hosted, tmp_path / "cache", hosted.plugin())
    command = [sys.executable, "-I", "-c", COLLECTING, str(hosted.directory), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
