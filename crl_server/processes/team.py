"""Several processes that serve one deployment: started, watched, started again when one dies, ended together.

The parent binds the socket and opens it to all workers, so that connections wait in one queue and none is lost with a
worker. It answers nothing itself. A worker hears of its parent's death by the end of a pipe, and ends.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from crl_server.processes.board import sheet, sheets
from crl_server.processes.pulse import Pulses, Watch
from verifier.errors import Unreachable, UsageError

MAX_WORKERS: Final = 64
TICK: Final = 0.05
"""How often, in seconds, it is looked whether a worker has ended."""
STABLE: Final = 60.0
"""A worker that has lived so long, in seconds, has not died of what killed the one before it."""
MAX_DEATHS: Final = 10
"""How often one place of a team may become free, each time before that, until the team is given up."""
FIRST_PAUSE: Final = 0.5
"""How long, in seconds, to wait before the third worker in one place; the second is started at once."""
LONGEST_PAUSE: Final = 30.0
PATIENCE: Final = 25.0
"""How long, in seconds, workers may take to end once they are told to."""
STDERR: Final = 2

log = logging.getLogger("crl_server")


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told at its start: which deployment, its number, open descriptors, and how it logs."""

    directory: str
    number: int
    listening: int
    lifeline: int
    started: int
    pulse: int
    sheets: list[int]
    log_format: str
    log_level: str


def check_count(count: int) -> None:
    """Demand a number of workers that makes sense.

    Raises:
        UsageError: ``usage.arguments``.
    """
    if not 1 <= count <= MAX_WORKERS:
        raise UsageError("usage.arguments", "no such team", found=f"{count} workers", expected=f"1 to {MAX_WORKERS}")


def pause_after(deaths: int) -> float:
    """How long, in seconds, a place stays free after so many early deaths in a row."""
    return 0.0 if deaths <= 1 else float(min(FIRST_PAUSE * 2 ** (deaths - 2), LONGEST_PAUSE))


class Team:
    """A number of workers.

    Args:
        count: how many.
        log_format: how they log, as :func:`crl_server.operating.logs.configured` takes it.
        log_level: from which level on.
    """

    def __init__(self, count: int, log_format: str = "text", log_level: str = "warning") -> None:
        check_count(count)
        self._count = count
        self._logging = log_format, log_level
        self._end = threading.Event()

    def serve(self, directory: Path, listening: socket.socket, announce: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            directory: the deployment's.
            listening: where connections arrive; it is closed at the end.
            announce: is called once every worker takes connections.

        Raises:
            Unreachable: ``server.workers`` when workers end again and again, or at their start.
        """
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, lambda *_: self._end.set())
        with (
            sheets(self._count) as board, sheet("loadlock-pulse") as pulse,
            _pipe() as (lifeline, _), _pipe() as (started, told_started),
        ):  # fmt: skip
            shared, pulses = (listening.fileno(), lifeline, told_started, pulse, *board), Pulses(pulse)
            places = [
                _Place(
                    Errand(
                        directory=str(directory.resolve()), number=number, listening=shared[0], lifeline=lifeline,
                        started=told_started, pulse=pulse, sheets=board, log_format=self._logging[0],
                        log_level=self._logging[1],
                    ),
                    shared,
                    pulses,
                )
                for number in range(1, self._count + 1)
            ]  # fmt: skip
            try:
                for place in places:
                    place.start()
                if self._all_started(places, started):
                    announce()
                while not self._end.wait(TICK):
                    for place in places:
                        place.look()
            finally:
                listening.close()  # whoever comes now is refused, not kept waiting
                _end_all(places)

    def _all_started(self, places: Sequence[_Place], started: int) -> bool:
        """Wait for each worker to take connections; whether they do, and the team was not told to end meanwhile."""
        os.set_blocking(started, False)
        waiting = len(places)
        while waiting and not self._end.wait(TICK):
            try:
                waiting -= len(os.read(started, waiting))
            except BlockingIOError:
                for place in places:
                    place.check_alive()
        return not waiting


class _Place:
    """One worker's place in a team, whoever fills it."""

    def __init__(self, errand: Errand, shared: Sequence[int], pulses: Pulses) -> None:
        self._errand, self._shared, self._pulses = errand, shared, pulses
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._again = 0.0
        self._deaths = 0
        self._last = ""

    def start(self) -> None:
        """Start a worker.

        Raises:
            Unreachable: ``server.workers``.
        """
        words = [sys.executable, "-P", "-m", "crl_server.processes.worker", msgspec.json.encode(self._errand).decode()]
        self._began = time.monotonic()
        self._watch = self._watched()
        try:
            # A group of its own: Ctrl-C reaches the parent alone, which tells the workers as it tells them of any other
            # end. Standard output is the parent's own.
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=STDERR, pass_fds=self._shared, process_group=0
            )
        except OSError as error:  # no memory, or too many processes: perhaps not for long
            self._ended(error.strerror or str(error))

    def look(self) -> None:
        """Start a worker again whose predecessor has ended; end one that hangs.

        Raises:
            Unreachable: ``server.workers``.
        """
        if self._process is None:
            if time.monotonic() >= self._again:
                self.start()
        elif (status := self._process.poll()) is not None:
            self._ended(_ending(status))
        elif self._is_silent():
            log.error("worker %d is silent for too long and is killed", self._errand.number)
            self._process.kill()  # it would not hear of anything gentler
            self._watch = self._watched()

    def _is_silent(self) -> bool:
        return self._watch.is_over(self._pulses.count(self._errand.number), time.monotonic())

    def _watched(self) -> Watch:
        return Watch(self._pulses.count(self._errand.number), time.monotonic())

    def _ended(self, how: str) -> None:
        self._deaths = 1 if time.monotonic() - self._began >= STABLE else self._deaths + 1
        if self._deaths >= MAX_DEATHS:
            raise self._given_up(how)
        pause = pause_after(self._deaths)
        self._process, self._again, self._last = None, time.monotonic() + pause, how
        log.error("worker %d has ended (%s) and is started again in %g s", self._errand.number, how, pause)

    def check_alive(self) -> None:
        """Demand that the worker was started, has not ended since, and does not hang.

        Raises:
            Unreachable: ``server.workers``.
        """
        if self._process is None:
            raise self._given_up(self._last)
        if (status := self._process.poll()) is not None:
            raise self._given_up(_ending(status))
        if self._is_silent():
            raise self._given_up("no sign of life")

    def tell(self) -> None:
        """Tell the worker to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, until: float) -> None:
        """Wait for the worker's end, and make it when the time has come."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("worker %d does not end and is killed", self._errand.number)
            self._process.kill()
            self._process.wait()

    def _given_up(self, how: str) -> Unreachable:
        found = f"worker {self._errand.number}: {how}"
        return Unreachable("server.workers", "a worker of this server does not stay alive", found=found)


def _end_all(places: Sequence[_Place]) -> None:
    for place in places:
        place.tell()
    until = time.monotonic() + PATIENCE
    for place in places:
        place.wait(until)


def _ending(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe: where it is read, where it is written."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
