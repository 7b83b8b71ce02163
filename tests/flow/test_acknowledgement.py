"""From a revocation to the last host: the real service, two real hosts that watch, and the coverage that climbs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crl_server.api.hosts import coverage
from crl_server.fleet.hosts import Coverage
from loadlock.cli import main
from tests.crl_server.deployments import ACTOR, made, revoke
from tests.crl_server.live import Live, address_of, listen
from tests.crl_server.takebacks import root_of
from verifier.formats.text import Name

PATIENCE = 30.0


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    now, listening = datetime.now(UTC).replace(microsecond=0), listen()
    authority = made(tmp_path / "acme", now=now, server=address_of(listening))
    with Live(authority, listening) as server:
        server.now = now
        yield server
    authority.close()


def until_covered(live: Live, wanted: tuple[int, int]) -> Coverage:
    """The coverage, once so many hosts were heard of and so many of them enforce the list."""
    end, pause = time.monotonic() + PATIENCE, threading.Event()
    while True:
        found = coverage(live.authority, None, live.now)
        if (found.hosts, found.enforcing) == wanted:
            return found
        assert time.monotonic() < end, found
        pause.wait(0.05)


HOST = """
import functools, sys
import verifier.refreshing.acknowledging as acknowledging
from verifier import Gate
acknowledging.reporter_of = functools.partial(acknowledging.reporter_of, look=0.05)
gates = [Gate.open(directory) for directory in sys.argv[1:]]
for gate, interval in zip(gates, (0.2, 3600)):
    gate.watch(interval=interval, push=False)
sys.stdin.readline()
"""


def test_security_staff_see_a_revocation_arrive(live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("web-1", "web-2"):
        at = ["--deployment", str(tmp_path / name)]
        token = tmp_path / "token"
        made_token = live.authority.create_token(Name(name), ["host"], timedelta(1), ACTOR, live.now, Name(name))
        token.write_text(made_token)
        assert main(["host", "enroll", live.address, "--root", root_of(live.authority), *at]) == 0
        assert main(["host", "identify", name, "--token-file", str(token), *at]) == 0
        assert made_token not in capsys.readouterr().out
    command = [sys.executable, "-c", HOST, *(str(tmp_path / name) for name in ("web-1", "web-2"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as hosts:
        try:
            assert until_covered(live, (2, 2)).lagging == ()
            seq = revoke(live.authority, "x", now=live.now)
            found = until_covered(live, (2, 1))
            assert (found.seq, found.lagging) == (seq, ("web-2",))
        finally:
            hosts.kill()
    assert said(capsys, "hosts", "coverage", at=tmp_path / "acme", status=1)["lagging"] == ["web-2"]
    listed = said(capsys, "hosts", "ls", at=tmp_path / "acme")["hosts"]
    assert [host["instances"][0]["state"] for host in listed] == ["current", "lagging"]
    assert said(capsys, "hosts", "running", "pkg:pypi/requests", at=tmp_path / "acme")["running"] == []


def said(capsys: pytest.CaptureFixture[str], *words: str, at: Path, status: int = 0) -> Any:
    """What a command says for programs; it says something to people too."""
    assert main([*words, "--deployment", str(at)]) == status
    assert capsys.readouterr().out.strip()
    assert main([*words, "--deployment", str(at), "--json"]) == status
    return json.loads(capsys.readouterr().out)
