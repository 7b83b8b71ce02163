"""The watcher: it goes on after every failure, in every forked worker, and stops when told."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live_deployment import LiveDeployment, digest
from verifier.errors import LoadlockError, Refused, Unreachable
from verifier.formats.text import Hex
from verifier.refreshing.watch import Watcher

PATIENCE = 10.0
"""Seconds within which a background thread must have done its work; never reached when all is well."""


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    """Makes watchers, and stops them whatever the test does."""
    made: list[Watcher] = []

    def make(refresh: Callable[[], object], interval: float = 0.01, **more: object) -> Watcher:
        made.append(Watcher(refresh, interval=interval, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for watcher in made:
        watcher.stop()


class Passes:
    """A refresh that counts, fails as told, and tells when enough has happened."""

    def __init__(self, *errors: Exception, enough: int = 3) -> None:
        self.errors = list(errors)
        self.count = 0
        self.enough = enough
        self.done = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        if self.count >= self.enough:
            self.done.set()
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("unreachable.server", "no answer"),
        Refused("list.fork", "two lists contradict each other"),
        ValueError("unforeseen"),
        SystemError("worse"),
    ],
)
def test_a_failure_is_logged_reported_and_survived(
    watch: Callable[..., Watcher], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "verifier.refreshing.watch")
    passes = Passes(error)
    reported: list[Exception] = []
    watch(passes, on_failure=reported.append).start()
    assert passes.done.wait(PATIENCE)
    assert reported == [error]
    expected = "WARNING" if isinstance(error, LoadlockError) else "ERROR"
    assert [record.levelname for record in caplog.records] == [expected]


def test_a_callback_that_fails_itself_is_survived_and_logged(
    watch: Callable[..., Watcher], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Exception) -> None:
        raise RuntimeError("the host's own mistake")

    passes = Passes(ValueError(), ValueError())
    watch(passes, on_failure=fail).start()
    assert passes.done.wait(PATIENCE)
    assert "the host's on_failure callback raised an error" in caplog.messages


def test_after_failures_it_asks_again_soon_and_then_ever_less_often() -> None:
    watcher = Watcher(int, interval=60, chance=lambda: 0.5)
    assert [watcher.wait_after(failures) for failures in range(9)] == [60, 1, 2, 4, 8, 16, 32, 60, 60]
    assert watcher.wait_after(10_000) == 60


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 48.0), (0.5, 60.0), (1.0, 72.0)])
def test_no_two_hosts_ask_in_step(chance: float, wait: float) -> None:
    assert Watcher(int, interval=60, chance=lambda: chance).wait_after(0) == pytest.approx(wait)


def test_a_stopped_watcher_makes_no_further_pass(watch: Callable[..., Watcher]) -> None:
    passes = Passes(enough=1)
    watcher = watch(passes, interval=3600)
    watcher.start()
    assert passes.done.wait(PATIENCE)
    watcher.stop()
    assert not watcher.running
    assert passes.count == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "loadlock-watcher"]
    watcher.stop()


def test_a_watcher_may_be_stopped_from_within_a_pass(watch: Callable[..., Watcher]) -> None:
    ended = threading.Event()

    def refresh() -> None:
        watcher.stop()
        ended.set()

    watcher = watch(refresh)
    watcher.start()
    assert ended.wait(PATIENCE)
    assert not watcher.running


def test_what_fails_after_the_stop_is_not_reported(watch: Callable[..., Watcher]) -> None:
    reported: list[Exception] = []

    def refresh() -> None:
        watcher.stop()
        raise ValueError

    watcher = watch(refresh, on_failure=reported.append)
    watcher.start()
    for thread in threading.enumerate():
        if thread.name == "loadlock-watcher":
            thread.join(PATIENCE)
    assert reported == []


def test_starting_twice_starts_one_thread_and_a_stopped_one_starts_again(watch: Callable[..., Watcher]) -> None:
    passes = Passes()
    watcher = watch(passes)
    watcher.start()
    watcher.start()
    assert len([thread for thread in threading.enumerate() if thread.name == "loadlock-watcher"]) == 1
    watcher.stop()
    passes.done.clear()
    watcher.start()
    assert watcher.running
    assert passes.done.wait(PATIENCE)


NO_THREAD = """
import resource, sys, threading
from verifier import Gate
gate = Gate.open(sys.argv[1])
gate._prepared_refresher()
threading.stack_size(1 << 40)  # of which no system has any
try:
    gate.watch()
except RuntimeError as error:
    print(error, gate._watcher)
threading.stack_size(0)
gate.watch()
print(gate._watcher.running)
gate.close()
"""


def test_a_watch_that_could_not_begin_is_none_and_begins_when_asked_again(tmp_path: Path) -> None:
    with LiveDeployment() as live:
        live.host(tmp_path)
        assert run(NO_THREAD, str(tmp_path)).splitlines() == ["can't start new thread None", "True"]


def test_nothing_runs_before_the_start(watch: Callable[..., Watcher]) -> None:
    passes = Passes()
    assert not watch(passes).running
    assert passes.count == 0


def test_a_revocation_reaches_a_running_host(watch: Callable[..., Watcher], tmp_path: Path) -> None:
    with LiveDeployment() as live:
        host = live.host(tmp_path)
        arrived = threading.Event()

        def refresh() -> None:
            if host.refresh(live.now).revocations.lists(Hex(digest(1))):
                arrived.set()

        watch(refresh).start()
        assert not arrived.is_set()
        live.revoke(digest(1))
        assert arrived.wait(PATIENCE)


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_worker_keeps_its_kill_switch(tmp_path: Path) -> None:
    """A pre-forking server: the parent watches, forks, and a revocation has to reach parent, child and grandchild."""
    script = """
import os, sys, threading
from pathlib import Path
from verifier.formats.text import Hex
from verifier.deployment.home import Home
from verifier.refreshing.refresh import Refresher
from verifier.refreshing.watch import Watcher
from datetime import UTC, datetime

refresher, passed, arrived = Refresher(Home(Path(sys.argv[1]))), threading.Event(), threading.Event()

def refresh():
    if refresher.refresh(datetime.now(UTC)).revocations.lists(Hex(sys.argv[2])):
        arrived.set()
    passed.set()

watcher = Watcher(refresh, interval=0.05)
watcher.start()
assert passed.wait(20)
children = []
for generation in ("child", "grandchild"):
    if (pid := os.fork()) != 0:
        children.append(pid)
        break
    passed.clear()
os.write(1, b"ready\\n")
assert arrived.wait(20)
watcher.stop()
assert not watcher.running
for pid in children:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
os.write(1, b"revoked\\n")
os._exit(0)
"""
    with LiveDeployment() as live:
        live.host(tmp_path)
        command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), digest(1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(3)] == ["ready\n"] * 3
            live.revoke(digest(1))
            assert process.stdout.read() == "revoked\n" * 3
        assert process.returncode == 0


def test_a_stopped_watcher_does_not_wake_in_a_child() -> None:
    script = """
import os, threading
from verifier.refreshing.watch import Watcher
passed = threading.Event()
watcher = Watcher(passed.set, interval=0.01)
watcher.start()
assert passed.wait(20)
watcher.stop()
unstarted = Watcher(int)
if (pid := os.fork()) == 0:
    os._exit(1 if watcher.running or unstarted.running or threading.active_count() > 1 else 0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(script) == "0\n"
