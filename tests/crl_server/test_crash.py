"""Killed at any moment: no acknowledged revocation is lost, and the list on disk always verifies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crl_server.deployments import NOW, digest, made
from tests.project.tree import ROOT

KILLS = 12


@contextmanager
def revoker(directory: Path) -> Iterator[subprocess.Popen[str]]:
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


def killed(process: subprocess.Popen[str], name: str, after: int, seconds: float) -> list[str]:
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


def test_no_acknowledged_revocation_is_lost(tmp_path: Path) -> None:
    chance = random.Random(20260131)
    authority = made(tmp_path / "acme")
    acknowledged: list[str] = []
    with revoker(tmp_path / "acme") as process:
        for kill in range(KILLS):
            acknowledged += killed(process, f"run{kill}", chance.randrange(1, 4), chance.uniform(0, 0.06))
            published = authority.publisher.read(authority.repository.trust(), NOW)
            assert [label for label in acknowledged if not published.lists(digest(label))] == []
            authority.verify_audit(NOW)
    assert len(acknowledged) >= KILLS
    authority.reconcile(NOW)
    with authority.store.read() as ledger:
        assert authority.standing(NOW).revocations.head.seq == ledger.last_seq()
    authority.close()
