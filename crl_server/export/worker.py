"""Exports beside the service: a thread for each place, which nothing waits for.

It looks at the tree's own files, whoever changed them. What fails is logged when it begins to fail and when the reason
changes, counted, and tried again, at first soon and then ever more rarely; what is served and published here goes on.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from crl_server.background import Background
from crl_server.export.exporter import LOOK_AGAIN, Exporter
from crl_server.export.places import Directory, Place
from crl_server.export.tree import watched_files
from crl_server.lists.stamps import stamps
from crl_server.operating import tracing
from crl_server.service import Authority
from crl_server.settings import Export
from verifier.errors import LoadlockError

LOOK = 0.1
"""How often, in seconds, the tree's files are looked at."""
FIRST_PAUSE = 1.0
"""How long, in seconds, to wait after a failure; twice as long after each further one."""
LONGEST_PAUSE = 60.0
PATIENCE = 5.0
"""How long, in seconds, a pass that is under way may go on once the service ends; a place that hangs is left alone:
what it holds is whole files."""

log = logging.getLogger("crl_server.export")


@dataclass
class State:
    """How an export fares.

    Attributes:
        behind_since: since when the tree has had something that the place lacks; None when it has all.
        succeeded: when a pass last ended well.
        epoch, seq: the list that the place holds, as far as this process knows; zeros before the first pass.
        passes, failures, written, removed: counts since the process started.
        code: of the failure that lasts; empty when there is none.
    """

    behind_since: datetime | None = None
    succeeded: datetime | None = None
    epoch: int = 0
    seq: int = 0
    passes: int = 0
    failures: int = 0
    written: int = 0
    removed: int = 0
    code: str = ""

    def lag(self, now: datetime) -> timedelta:
        """For how long the place has lacked something."""
        return max(now - self.behind_since, timedelta(0)) if self.behind_since else timedelta(0)


class ExportWorker(Background):
    """Keeps one place up to date while inside its block.

    Args:
        authority: whose tree it is.
        exporter: makes the passes.
        clock: tells the time, aware and in UTC.
        look: seconds between two looks at the tree.
        first_pause: seconds to wait after a first failure.

    Attributes:
        state: how it fares; another thread may read it at any time.
    """

    def __init__(
        self,
        authority: Authority,
        exporter: Exporter,
        clock: Callable[[], datetime],
        *,
        look: float = LOOK,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        super().__init__(f"export-{exporter.name}", PATIENCE)
        self.name = exporter.name
        self.state = State()
        self._exporter = exporter
        self._watched = watched_files(authority.layout)
        self._clock = clock
        self._look, self._first_pause = look, first_pause
        self._done: object = None

    def _run(self) -> None:
        pause, failed = self._look, 0
        while not self._end.wait(pause):
            seen, now = stamps(self._watched), self._clock()
            looked = self.state.succeeded
            if seen == self._done and looked is not None and abs(now - looked) < LOOK_AGAIN:
                continue
            if seen != self._done:
                self.state.behind_since = self.state.behind_since or now
            if self._pass(now):
                pause, failed, self._done, self.state.behind_since = self._look, 0, seen, None
            else:
                failed += 1
                pause = min(self._first_pause * 2 ** min(failed - 1, 10), LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _pass(self, now: datetime) -> bool:
        """Make a pass; whether it ended well."""
        state = self.state
        state.passes += 1
        try:
            with tracing.span("export") as span:
                span.set("loadlock.export", self.name)
                outcome = self._exporter.run(now)
        except LoadlockError as error:
            self._failed(error.code, error)
            return False
        except Exception as error:
            # Whatever it was, the next pass may succeed; until then it is counted and the lag grows.
            log.exception("the export %s met an error nobody foresaw", self.name)
            self._failed("internal.unexpected", error)
            return False
        if state.code:
            log.warning("the export %s works again", self.name)
        state.code, state.succeeded, state.epoch, state.seq = "", now, outcome.epoch, outcome.seq
        state.written += outcome.written
        state.removed += outcome.removed
        return True

    def _failed(self, code: str, error: Exception) -> None:
        if self.state.code != code:
            # Where several servers export to one place, one of them is always a moment behind.
            level = logging.INFO if code == "export.conflict" else logging.ERROR
            log.log(level, "the export %s lags behind and is tried again: %s", self.name, error)
        self.state.failures += 1
        self.state.code = code


def place_of(settings: Export) -> Place:
    """The place that an export's settings name.

    Raises:
        UsageError: ``usage.extra``, ``usage.configuration``.
    """
    if settings.s3 is None:
        return Directory(Path(settings.directory))
    from crl_server.export.s3 import S3  # brings the extra

    return S3(settings.s3, settings.max_age)


def exporters(authority: Authority, settings: Sequence[Export]) -> list[Exporter]:
    """One exporter for each export of the settings; raises as :func:`place_of`."""
    return [Exporter(authority, found.name, place_of(found), found.keep.span) for found in settings]


def check_not_behind(found: Sequence[Exporter]) -> None:
    """Demand that no place holds something newer than this server has; one that is not to be had is told of.

    Raises:
        Refused: ``export.behind``; ``trust.*``.
    """
    for exporter in found:
        try:
            exporter.check_not_behind()
        except LoadlockError as error:
            if error.code == "export.behind" or error.code.startswith("trust."):
                raise
            log.warning("the export %s could not be compared with: %s", exporter.name, error)
