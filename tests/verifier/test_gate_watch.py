"""The watch beside a host: it brings revocation to what runs, also in forked workers and under an event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadlock.testing.loopback import status
from tests.hosts import ROOT, HostedDeployment, code_of, in_fresh_process
from verifier.errors import LoadlockError, PluginRevoked
from verifier.gate import MAX_INTERVAL, Plugin

PATIENCE = 20.0
"""Seconds within which a background thread must have done its work; never reached when all is well."""


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@contextmanager
def running(script: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A host in a process of its own, to talk with by lines."""
    command = [sys.executable, "-c", HOST + script, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan"), float("inf"), MAX_INTERVAL * 2])
def test_an_interval_out_of_range_is_refused(hosted: HostedDeployment, interval: float) -> None:
    gate = hosted.gate()
    assert code_of(lambda: gate.watch(interval)) == "usage.arguments"
    assert gate._watcher is None


def test_a_pass_that_fails_is_told_and_the_watch_goes_on(hosted: HostedDeployment) -> None:
    failures: list[Exception] = []
    failed, revoked = threading.Event(), threading.Event()

    def note(error: Exception) -> None:
        failures.append(error)
        failed.set()
        raise ValueError("and the callback fails as well")

    wheel = hosted.plugin()
    gate = hosted.gate(on_revoked=lambda *_: revoked.set())
    plugin = gate.load(wheel)
    hosted.server.lies["lists/head.json"] = status(503)
    gate.watch(0.02, on_failure=note)
    assert failed.wait(PATIENCE)
    assert isinstance(failures[0], LoadlockError)
    assert failures[0].code == "unreachable.server"
    plugin.check()
    hosted.revoke(wheel)
    hosted.server.lies.clear()
    assert revoked.wait(PATIENCE)
    assert code_of(plugin.check) == "plugin.revoked"


# -- in one process ----------------------------------------------------------------------------------------------------


def test_revocation_reaches_a_host_that_does_nothing(hosted: HostedDeployment) -> None:
    told: list[tuple[str, str]] = []
    heard = threading.Event()

    def hear(plugin: Plugin, error: PluginRevoked) -> None:
        told.append((threading.current_thread().name, plugin.facts.plugin_id))
        heard.set()

    wheel = hosted.plugin()
    with hosted.gate(on_revoked=hear) as gate:
        entry = gate.load(wheel).entry_point("exporters", "hello")
        gate.watch(0.02)
        gate.watch(0.02)
        assert entry() == "hello"
        hosted.revoke(wheel)
        assert heard.wait(PATIENCE)
        assert code_of(entry) == "plugin.revoked"
    assert told == [("loadlock-watcher", "sample_plugin")]
    assert [thread.name for thread in threading.enumerate() if thread.name == "loadlock-watcher"] == []


def test_a_closed_gate_asks_no_more_and_can_watch_again(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    for _ in range(2):
        hosted.server.log.clear()
        gate.watch(0.01)
        first = gate._watcher
        gate.close()
        gate.close()
        assert first is not None
        assert not first.running
        asked = len(hosted.server.log)
        assert not threading.Event().wait(0.05)
        assert len(hosted.server.log) == asked


def test_a_host_on_an_event_loop_hears_and_stays_responsive(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()

    async def host() -> int:
        loop, heard, beats = asyncio.get_running_loop(), asyncio.Event(), 0
        with hosted.gate(on_revoked=lambda *_: loop.call_soon_threadsafe(heard.set)) as gate:
            plugin = await asyncio.to_thread(gate.load, wheel)
            gate.watch(0.02)
            async with asyncio.timeout(PATIENCE):
                with plugin.run():
                    assert plugin.entry_point("exporters", "hello")() == "hello"
                hosted.revoke(wheel)
                while not heard.is_set():
                    beats += 1
                    await asyncio.sleep(0.001)
            assert code_of(plugin.check) == "plugin.revoked"
        return beats

    assert asyncio.run(host()) > 0


# -- across fork -------------------------------------------------------------------------------------------------------

HOST = """
import os, sys, threading, time
from verifier import Gate, PluginRevoked

told = []
gate = Gate.open(sys.argv[1], on_revoked=lambda plugin, error: told.append(plugin.facts.plugin_id))
entry = gate.load(sys.argv[2]).entry_point("exporters", "hello")

def outcome():
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            entry()
        except PluginRevoked as error:
            while not told and time.monotonic() < end:  # the callback comes after the switch
                time.sleep(0.005)
            return f"{error.code} {told}"
        time.sleep(0.005)
    return "still running"
"""

FORKING = """
gate.watch(0.05)
gate.refresh()
children = []
for number in range(2):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, f"child: {outcome()}".encode())
        os._exit(0)
    os.close(writer)
    children.append((child, reader))
print("forked", flush=True)
print(f"parent: {outcome()}", flush=True)
for child, reader in children:
    print(os.read(reader, 1000).decode(), flush=True)
    os.waitpid(child, 0)
"""


def test_a_forked_worker_keeps_its_own_watch(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    with running(FORKING, hosted.directory, wheel) as host:
        assert line_of(host) == "forked"
        hosted.revoke(wheel)
        outcomes = [line_of(host) for _ in range(3)]
    told = "plugin.revoked ['sample_plugin']"
    assert outcomes == [f"parent: {told}", f"child: {told}", f"child: {told}"]


ALONE = """
gate.watch(0.05)
child = os.fork()
if child == 0:
    print("forked", flush=True)
    sys.stdin.readline()
    print(outcome(), flush=True)
os._exit(0)
"""


def test_a_worker_hears_also_when_its_parent_is_gone(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    with running(ALONE, hosted.directory, wheel) as host:
        assert line_of(host) == "forked"
        host.wait(PATIENCE)
        hosted.revoke(wheel)
        assert host.stdin is not None
        host.stdin.write("\n")
        host.stdin.flush()
        assert line_of(host) == "plugin.revoked ['sample_plugin']"


LOCKED = """
held, go = threading.Event(), threading.Event()
def hold():
    with gate._lock:
        held.set()
        go.wait(10)
threading.Thread(target=hold, daemon=True).start()
held.wait(10)
child = os.fork()
if child == 0:
    gate.verify(sys.argv[2])
    print(entry(), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
go.set()
print("child ended with", status, flush=True)
"""


def test_a_lock_that_another_thread_held_at_the_fork_holds_nobody_up(hosted: HostedDeployment) -> None:
    with running(LOCKED, hosted.directory, hosted.plugin()) as host:
        assert [line_of(host), line_of(host)] == ["hello", "child ended with 0"]


HALFWAY = """
import verifier.gate
original = verifier.gate.check_standing
paused, go = threading.Event(), threading.Event()
def pausing(*arguments):
    paused.set()
    go.wait(10)
    original(*arguments)
verifier.gate.check_standing = pausing
threading.Thread(target=gate.refresh, daemon=True).start()
paused.wait(10)
child = os.fork()
go.set()
if child == 0:
    try:
        gate.verify(sys.argv[2])
    except Exception as error:
        print(error.code, flush=True)
    print(outcome(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(outcome(), flush=True)
"""


def test_a_fork_in_the_middle_of_judging_judges_again(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    with running("input()\n" + HALFWAY, hosted.directory, wheel) as host:
        hosted.revoke(wheel)
        assert host.stdin is not None
        host.stdin.write("\n")
        host.stdin.flush()
        told = "plugin.revoked ['sample_plugin']"
        assert [line_of(host) for _ in range(3)] == ["revoked.artifact", told, told]


IMPORTS = """
import sys
from verifier import Gate
gate = Gate.open(sys.argv[1])
seen = []
def listen(event, args):
    if event == "import" and listening:
        seen.append(args[0])
listening = False
sys.addaudithook(listen)
gate._prepared_refresher()
listening = True
gate.refresh()
listening = False
print(seen)
"""


def test_a_pass_imports_nothing_that_a_fork_could_interrupt(hosted: HostedDeployment) -> None:
    assert in_fresh_process(IMPORTS, hosted.directory) == "[]"
