"""A host from its first day to a revocation: enrolled by command, forked workers, a list that arrives, a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import ROOT, HostedDeployment, set_of


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def loadlock(*words: str | Path, deployment: Path) -> tuple[int, Any]:
    """The exit status of a command and its one JSON object."""
    command = [sys.executable, "-m", "loadlock", *map(str, words), "--json", "--deployment", str(deployment)]
    done = subprocess.run(command, cwd=deployment.parent, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


SERVER = """
import logging, os, sys, time
from verifier import Gate, LoadlockError, PluginRevoked

logging.basicConfig(stream=sys.stderr, format="%(plugin_id)s %(run_id)s %(message)s")
told = []
gate = Gate.open(sys.argv[1], on_revoked=lambda plugin, error: told.append(plugin.facts.plugin_id))
exporter = gate.load(sys.argv[2]).entry_point("exporters", "hello")
other = gate.load(sys.argv[3]).entry_point("exporters", "hello")
gate.watch(interval=0.1)

def say(text):
    os.write(1, f"{text}\\n".encode())  # in one piece: the workers share this pipe

def work(name):
    \"\"\"Serve until the exporter is refused; the other plugin goes on.\"\"\"
    end = time.monotonic() + 20
    served = 0
    while time.monotonic() < end:
        try:
            assert exporter() == "hello"
        except PluginRevoked as error:
            while not told and time.monotonic() < end:
                time.sleep(0.005)
            return f"{name} {error.code} {told} {other()}"
        served += 1
        if served == 1:
            say(f"{name} serves")
        time.sleep(0.01)
    return f"{name} was not stopped"

for number in range(3):
    if os.fork() == 0:
        say(work(f"worker {number}"))
        os._exit(0)
for _ in range(3):
    os.wait()
say(work("master"))
"""


def test_a_pre_forking_host_hears_of_a_revocation_in_every_worker(hosted: HostedDeployment, tmp_path: Path) -> None:
    host, wheel, other = tmp_path / "server", hosted.plugin(), hosted.plugin(name="other-plugin")
    set_of(wheel).unlink()
    status, said = loadlock("host", "enroll", hosted.server.url, "--root", hosted.root, deployment=host)
    assert (status, said["seq"]) == (0, 0)
    assert loadlock("verify", wheel, deployment=host)[1]["plugins"][0]["error"]["code"] == "set.missing"
    assert loadlock("host", "sync", wheel, deployment=host)[0] == 0
    assert loadlock("verify", wheel, deployment=host)[0] == 0

    command = [sys.executable, "-c", SERVER, *map(str, (host, wheel, other))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert sorted(server.stdout.readline() for _ in range(3)) == [
            f"worker {number} serves\n" for number in range(3)
        ]
        hosted.revoke(wheel)
        lines = [line.strip() for line in server.stdout if "serves" not in line]
    everybody = ["master", *(f"worker {number}" for number in range(3))]
    assert sorted(lines) == [f"{name} plugin.revoked ['sample_plugin'] hello" for name in everybody]
    assert server.returncode == 0

    # After a restart, and without a network, the host still knows.
    hosted.server.stop()
    status, said = loadlock("run", wheel, "--entry", "exporters:hello", deployment=host)
    assert (status, said["error"]["code"]) == (1, "revoked.artifact")
    assert loadlock("run", other, "--entry", "exporters:hello", deployment=host)[1]["value"] == "hello"
    assert loadlock("host", "sync", deployment=host)[0] == 3


def test_a_reinstated_plugin_loads_in_the_next_process(hosted: HostedDeployment, tmp_path: Path) -> None:
    host, wheel = tmp_path / "server", hosted.plugin()
    assert loadlock("host", "enroll", hosted.server.url, "--root", hosted.root, deployment=host)[0] == 0
    hosted.revoke(wheel)
    assert loadlock("host", "sync", deployment=host)[0] == 0
    assert loadlock("verify", wheel, deployment=host)[0] == 1
    digest = hosted.sim.revoked.pop().removeprefix("sha256:")
    checkpoint = hosted.sim.lists.checkpoint(epoch=2, through=1, removed=[digest])
    hosted.sim.repository.publish_checkpoint(hosted.now, checkpoint)
    hosted.publish_head(epoch=2, first=2)
    status, said = loadlock("host", "sync", deployment=host)
    assert (status, said["epoch"], said["entries"]) == (0, 2, 0)
    status, said = loadlock("verify", wheel, deployment=host)
    assert (status, said["ok"]) == (0, True), said


def test_hosts_that_share_one_directory_do_not_get_into_each_others_way(
    hosted: HostedDeployment, tmp_path: Path
) -> None:
    wheel = hosted.plugin()
    command = [sys.executable, "-m", "loadlock", "host", "sync", "--json", "--deployment", str(hosted.directory)]
    hosted.revoke(wheel)
    syncs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(4)]
    said = [json.loads(sync.communicate(timeout=60)[0]) for sync in syncs]
    assert [(one["ok"], one["seq"]) for one in said] == [(True, 1)] * 4
    assert (
        loadlock("verify", wheel, deployment=hosted.directory)[1]["plugins"][0]["error"]["code"] == "revoked.artifact"
    )
