"""Stateless hosts: shipped in an image, read-only, with a floor of their own and without any grace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from loadlock.cli import main
from tests.hosts import ROOT, HostedDeployment, code_of, in_fresh_process
from tests.waiting import until
from verifier.deployment.home import Home
from verifier.deployment.stateless import in_scratch, ship
from verifier.gate import Gate

HOUR = timedelta(hours=1)


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def image(hosted: HostedDeployment) -> Path:
    """What is shipped after one revocation."""
    hosted.revoke(hosted.plugin(name="other-plugin"))
    hosted.refresh()
    ship(Home(hosted.directory))
    return hosted.directory


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def opened(hosted: HostedDeployment) -> Gate:
    gate = Gate.open(hosted.directory, clock=hosted.clock)
    hosted.gates.append(gate)
    return gate


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_an_expired_list_serves_a_stateless_host_no_longer(hosted: HostedDeployment, image: Path) -> None:
    wheel = hosted.plugin()
    hosted.pass_time(6 * HOUR - timedelta(seconds=1))
    opened(hosted).verify(wheel)
    hosted.pass_time(timedelta(seconds=1))
    gate = opened(hosted)
    assert code_of(lambda: gate.verify(wheel)) == "list.stale"
    hosted.publish_head()
    gate.refresh()
    gate.verify(wheel)


def test_the_shipped_floor_refuses_a_list_of_before(hosted: HostedDeployment, image: Path) -> None:
    floor = Home(image).host.floor
    assert (floor.epoch, floor.seq) == (1, 1)
    scratch = in_scratch(Home(image))
    state = json.loads((image / "state.json").read_text())
    state["seen"] |= {"seq": 0}  # what it has seen is forgotten; what was shipped is not
    (scratch.directory / "state.json").write_text(json.dumps(state))
    hosted.sim.revoked.clear()
    hosted.publish_head()
    gate = opened(hosted)
    assert code_of(gate.refresh) in ("list.rollback", "list.fork")
    assert gate.ground.floor.seq == 1


def test_a_floor_that_is_missing_is_refused(image: Path) -> None:
    record = json.loads((image / "host.json").read_text())
    del record["floor"]
    (image / "host.json").write_text(json.dumps(record))
    assert code_of(lambda: Gate.open(image)) == "format.schema"


@pytest.mark.parametrize("name", ["state.json", "root.json", "lists/heads"])
def test_an_image_that_lacks_something_is_refused(image: Path, name: str) -> None:
    path = image / name
    for file in path.iterdir() if path.is_dir() else (path,):
        file.unlink()
    assert code_of(lambda: Gate.open(image)) in ("list.state", "trust.root", "list.missing")


def test_without_a_place_to_write_to_it_does_not_start(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(image / "nowhere"))
    assert code_of(lambda: Gate.open(image)) == "io.failed"


# -- what passes -------------------------------------------------------------------------------------------------------


def test_a_stateless_host_refreshes_and_leaves_the_image_as_it_is(hosted: HostedDeployment, image: Path) -> None:
    before, wheel = content(image), hosted.plugin()
    gate = opened(hosted)
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    assert code_of(plugin.check) == "plugin.revoked"
    assert content(image) == before
    assert gate.home.directory != image
    assert gate.home.directory.stat().st_mode & 0o777 == 0o700
    hosted.unload()
    assert opened(hosted).ground.revocations.head.seq == 1  # the next process begins with what was shipped


READ_ONLY = """
import os, sys
from verifier import Gate
gate = Gate.open(sys.argv[1])
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
assert gate.home.state()
print(gate.load(sys.argv[2]).entry_point("exporters", "hello")(), gate.home.directory)
"""


def test_it_starts_from_a_read_only_image_and_cleans_up(hosted: HostedDeployment, image: Path) -> None:
    wheel = hosted.plugin()
    for path in (image, *image.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        said, scratch = in_fresh_process(READ_ONLY, image, wheel).split()
    finally:
        for path in (image, *image.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert said == "hello"
    assert not Path(scratch).exists()


DAEMON = """
import os, sys
from verifier import Gate
gate = Gate.open(sys.argv[1])
plugin = gate.load(sys.argv[2])
if os.fork():
    sys.exit()  # the parent ends as any program, its handlers included
print("ready", flush=True)
input()
gate.refresh()
print(plugin.revoked is not None, gate.home.directory, flush=True)
"""


def test_a_child_keeps_its_files_when_its_parent_has_ended(hosted: HostedDeployment, image: Path) -> None:
    wheel = hosted.plugin()
    command = [sys.executable, "-W", "ignore", "-c", DAEMON, str(image), str(wheel)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        host.wait(30)  # the parent, whose handlers have run
        hosted.revoke(wheel)
        said, _ = host.communicate("\n", timeout=60)
    stopped, scratch = said.split()
    assert stopped == "True"
    until(lambda: not Path(scratch).exists())


def test_sets_and_wheels_are_read_where_they_were_shipped(hosted: HostedDeployment, image: Path) -> None:
    wheel = hosted.plugin()
    beside = wheel.with_name(wheel.name + ".attestations.jsonl")
    digest = opened(hosted).verify(wheel).artifact_digest
    (image / "sets").mkdir()
    beside.rename(image / "sets" / f"{digest.hex}.jsonl")
    assert opened(hosted).verify(wheel).artifact_digest == digest


def test_a_host_is_enrolled_to_be_shipped_by_command(hosted: HostedDeployment, tmp_path: Path) -> None:
    hosted.revoke(hosted.plugin())
    place = tmp_path / "image"
    words = ["host", "enroll", hosted.server.url, "--root", hosted.root, "--stateless", "--deployment", str(place)]
    assert main(words) == 0
    host = Home(place).host
    assert (host.stateless, host.floor.seq) == (True, 1)
    assert subprocess.run(
        [sys.executable, "-c", "import sys; from verifier import Gate; Gate.open(sys.argv[1])", str(place)],
        cwd=ROOT, env=os.environ, check=False,
    ).returncode == 0  # fmt: skip
