"""Watching: refresh again and again beside the host, in a thread of its own, also in forked workers.

A watcher is never on the way of a load. It refreshes with jitter, so that many hosts do not ask at one moment; after a
failure it asks again soon, and then ever less often up to its usual interval. A fork takes no threads along: without
help, the workers of a pre-forking server would lose the kill switch, so each child starts its own thread.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

from verifier.errors import LoadlockError

logger = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two passes, by default."""
JITTER = 0.2
"""By which part of itself a wait may be shorter or longer."""
FIRST_RETRY = 1.0
"""Seconds until the pass after a failure; doubled with each further failure, up to the interval."""
STOP_WAIT = 2.0
"""Seconds that :meth:`Watcher.stop` waits for a pass that is under way."""


class _Run(NamedTuple):
    stop: threading.Event
    thread: threading.Thread


class Watcher:
    """Calls ``refresh`` until it is stopped.

    Args:
        refresh: makes one pass, as :meth:`verifier.refreshing.refresh.Refresher.refresh` does, and tells whoever has to
            know.
        interval: seconds between two passes, and the longest wait after failures.
        rest: seconds between two passes that went well, where that is something else.
        what: what a pass does, for the log.
        level: how loudly a failure is logged.
        on_failure: called with each error that ``refresh`` raises, after it was logged: the place to alarm. What was
            in force is still in force then.
        chance: numbers from 0 to 1 for the jitter.
    """

    def __init__(
        self,
        refresh: Callable[[], object],
        *,
        interval: float = INTERVAL,
        rest: float | None = None,
        what: str = "refresh",
        level: int = logging.WARNING,
        on_failure: Callable[[Exception], object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._refresh = refresh
        self._interval = interval
        self._rest = interval if rest is None else rest
        self._what, self._level = what, level
        self._on_failure = on_failure
        self._chance = chance
        self._run: _Run | None = None
        _watchers.add(self)

    def start(self) -> None:
        """Make a first pass at once, in the background, and go on; starting twice changes nothing.

        Raises:
            RuntimeError: the system has no thread left; it is not started then, and may be again.
        """
        if self._run is None:
            self._begin(0.0)

    def stop(self, interrupt: Callable[[], object] = lambda: None) -> None:
        """Make no further pass. Returns at once, or after :data:`STOP_WAIT` when a pass hangs; that one ends alone.

        Args:
            interrupt: ends the pass that may be under way.
        """
        run, self._run = self._run, None
        if run is not None:
            run.stop.set()
            interrupt()
            if run.thread is not threading.current_thread():
                run.thread.join(STOP_WAIT)

    @property
    def running(self) -> bool:
        """Whether passes are being made in this process."""
        return self._run is not None and self._run.thread.is_alive()

    def wait_after(self, failures: int) -> float:
        """How many seconds to wait after so many failures in a row."""
        # 2**30 seconds is beyond any interval; an unbounded exponent would overflow one day.
        base = min(self._interval, FIRST_RETRY * 2 ** min(failures - 1, 30)) if failures else self._rest
        return base * (1 - JITTER + 2 * JITTER * self._chance())

    def _begin(self, delay: float) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=self._loop, args=(stop, delay), name="loadlock-watcher", daemon=True)
        self._run = _Run(stop, thread)  # first, so that a pass may stop it
        try:
            thread.start()
        except BaseException:
            self._run = None
            raise

    def _begin_again_in_child(self) -> None:
        if self._run is not None:
            self._begin(self._rest * self._chance())  # spread, for workers are forked all at once

    def _loop(self, stop: threading.Event, delay: float) -> None:
        failures = 0
        while not stop.wait(delay):
            try:
                self._refresh()
                failures = 0
            except Exception as error:  # whatever it is, the watch goes on: it is what revocations arrive by
                failures += 1
                self._report(error, stop)
            delay = self.wait_after(failures)

    def _report(self, error: Exception, stop: threading.Event) -> None:
        stays = f"{self._what} failed%s, what was in force stays"
        if isinstance(error, LoadlockError):
            logger.log(self._level, f"{stays}: [%s] %s (%s)", "", error.code, error.what, error.found)
        else:
            logger.error(stays, " unexpectedly", exc_info=error)
        if self._on_failure is not None and not stop.is_set():
            try:
                self._on_failure(error)
            except (Exception, SystemExit):  # a thread cannot end the process; it could end the watch
                logger.exception("the host's on_failure callback raised an error")


_watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()


def _begin_again_in_child() -> None:
    for watcher in list(_watchers):
        watcher._begin_again_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again_in_child)
