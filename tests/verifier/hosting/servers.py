"""Real servers in processes of their own, asked over loopback."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import free_port

PATIENCE = 30.0
"""Seconds until something has to have happened; much longer than it takes."""
ROUND = 8
"""Requests at once."""


class Server:
    """A server: how it is asked, and what it said on its streams."""

    def __init__(self, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.port, self.log, self.process = port, log, process

    def ask(self) -> str:
        """What it answers to one request over a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def until(self, expected: Callable[[set[str]], bool]) -> set[str]:
        """Ask several times at once, so that all workers are, until the answers of one round are as expected."""
        answers: set[str] = set()
        deadline = time.monotonic() + PATIENCE
        with ThreadPoolExecutor(ROUND) as pool:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    answers = {*pool.map(lambda _: self.ask(), range(ROUND))}
                except OSError:
                    time.sleep(0.05)
                    continue
                if expected(answers):
                    return answers
        raise AssertionError(f"{answers}\n{self.log.read_text()[-3000:]}")


@contextmanager
def serving(argv: Sequence[str], place: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run ``python -m ARGV``, in which ``PORT`` is a free one; it is ended with all its workers."""
    port, log = free_port(), place / "server.log"
    words = [sys.executable, "-m", *(word.replace("PORT", str(port)) for word in argv)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words, cwd=place, stdout=stream, stderr=stream, env={**os.environ, **environment}, start_new_session=True
        )
    try:
        yield Server(port, log, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
