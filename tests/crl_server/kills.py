"""Killing whoever writes at any moment, and looking at what is left: for the tests, and for benchmarks/crashes.py."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from tests.crl_server.deployments import NOW, digest
from tests.crl_server.revoker import revoke
from tests.project.tree import ROOT


class Outcome(NamedTuple):
    """What a series of kills led to: how many there were, what was acknowledged before them, and what was asked again
    and turned out to be done already.
    """

    kills: int
    acknowledged: int
    done_already: int


def kill_often(authority: Authority, kills: int, seed: int) -> Outcome:
    """Kill a process that revokes, again and again, and demand after each kill what must never fail.

    1. whatever was acknowledged is on the list on disk, which verifies as a host verifies it
    2. the audit log is whole, and the one that the list vouches for
    3. asked once more under its key, what was under way is done once, whether it had been committed or not
    """
    chance = random.Random(seed)
    acknowledged: list[str] = []
    known, again = 0, 0
    with _revoker(authority.layout.root) as process:
        for kill in range(kills):
            before = len(acknowledged)
            acknowledged += _killed(process, f"run{kill}", chance.randrange(1, 4), chance.uniform(0, 0.06))
            authority.tree.catch_up()
            published = authority.publisher.read(authority.repository.trust(), NOW)
            missing = [label for label in acknowledged if not published.lists(digest(label))]
            assert missing == [], f"lost after kill {kill}: {missing}"
            authority.verify_audit(NOW)
            under_way = f"run{kill}-{len(acknowledged) - before}"
            with authority.store.read() as ledger:
                known += ledger.listed(digest(under_way)) is not None
            revoke(authority, under_way)
            acknowledged.append(under_way)
            again += 1
    authority.reconcile(NOW)
    with authority.store.read() as ledger:
        assert authority.standing(NOW).revocations.head.seq == ledger.last_seq() == len(acknowledged)
        acts = [parse_entry(line) for line in ledger.audit_lines()]
    revoked = Counter(act.subject for act in acts if act.action == "artifact.revoke")
    assert revoked == Counter(digest(label) for label in acknowledged), "done twice, or by nobody"
    assert again == kills
    return Outcome(kills, len(acknowledged) - again, known)


@contextmanager
def _revoker(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that forks those who are killed."""
    command = [sys.executable, "-m", "tests.crl_server.revoker", str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
        process.communicate(timeout=10)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def _killed(process: subprocess.Popen[str], name: str, after: int, seconds: float) -> list[str]:
    """Let a child revoke for a while and kill it at whatever it is doing; returns what it had acknowledged."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    child = int(process.stdout.readline())
    acknowledged = [process.stdout.readline().strip() for _ in range(after)]
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    while (line := process.stdout.readline().strip()) != "dead":
        assert line.startswith(name), line
        acknowledged.append(line)
    return acknowledged
