"""What is done beside answering: signing again, in every process; exporting, telling and following, in one at a time.

Whoever comes first signs again, and the others find nothing due: a process that hangs keeps nobody from it. The rest
would be done twice. Every process of a server has these chores, and the one that holds the lock file does them;
whatever ends that one, the system lets go of its lock, and another process takes over within a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

from crl_server.api.edge import Clock
from crl_server.background import Background
from crl_server.export.exporter import Exporter
from crl_server.export.worker import ExportWorker
from crl_server.lists.following import Follower
from crl_server.operating.notices import note
from crl_server.service import Authority
from crl_server.storage.locking import exclusive_if_free
from crl_server.webhooks.roster import Roster
from verifier.errors import LoadlockError

AGAIN = timedelta(days=1)
"""How often somebody is reminded of the same thing."""
INTERVAL = 60.0
"""How often, in seconds, it is looked for what has to be signed again."""
LOOK = 0.25
"""How often, in seconds, it is looked whether the lock is free."""

log = logging.getLogger("crl_server")


class Reminder:
    """Logs what is about to expire: when it begins to be, and once a day from then on."""

    def __init__(self) -> None:
        self._told: dict[str, datetime] = {}

    def tell(self, warnings: Sequence[str], now: datetime) -> None:
        """Log the warnings that are new, and those that were last logged a day ago."""
        self._told = {warning: told for warning, told in self._told.items() if warning in warnings}
        for warning in warnings:
            told = self._told.get(warning)
            if told is None or now - told >= AGAIN:
                self._told[warning] = now
                log.warning("%s", warning)


class Maintenance(Background):
    """A thread that signs again what is about to expire. A failure is logged, and tried again the next time.

    Args:
        authority: the deployment.
        clock: tells the time.
        reminder: tells of what is about to expire.
        interval: seconds between two looks.
        aloud: tells whether this process is the one that reminds.
    """

    def __init__(
        self,
        authority: Authority,
        clock: Clock,
        reminder: Reminder | None = None,
        interval: float = INTERVAL,
        aloud: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("maintenance")
        self._aloud = aloud
        self._authority = authority
        self._clock = clock
        self._reminder = reminder or Reminder()
        self._interval = interval

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            try:
                now = self._clock()
                self._authority.maintain(now)
                note(self._authority, now)
                if self._aloud():
                    self._reminder.tell(self._authority.warnings(now), now)
            except LoadlockError as error:
                log.error("the list could not be kept fresh: %s", error)
            except Exception:
                # Whatever it was, the next look may succeed; hosts notice a stale list, and readyz tells.
                log.exception("the list could not be kept fresh")


class Chores(Background):
    """Signs again, and a thread that does the rest of the chores while nobody else does.

    Args:
        authority: the deployment.
        places: what keeps its exports.
        clock: tells the time.
        reminder: tells of what is about to expire.

    Attributes:
        exports, webhooks: what runs while the chores are done here; their numbers may be read at any time.
        here: whether the chores are done here.
    """

    def __init__(self, authority: Authority, places: Sequence[Exporter], clock: Clock, reminder: Reminder) -> None:
        super().__init__("chores")
        self.exports = [ExportWorker(authority, found, clock) for found in places]
        self.webhooks = Roster(authority, clock)
        self.here = False
        self._authority = authority
        self._maintenance = Maintenance(authority, clock, reminder, aloud=lambda: self.here)
        self._failing = False

    def _run(self) -> None:
        with self._maintenance:
            while not self._end.is_set():
                try:
                    with exclusive_if_free(self._authority.layout.chores_lock) as free:
                        if free:
                            self._work()
                    self._failing = False
                except LoadlockError as error:
                    self._failed("%s", error)
                except Exception as error:
                    # Whatever it was, it may be over at the next look; readyz and the metrics tell what is overdue.
                    self._failed("%r", error)
                self._end.wait(LOOK)

    def _work(self) -> None:
        """Do the chores until the end."""
        with ExitStack() as running:
            running.enter_context(Follower(self._authority.tree))
            for beside in (*self.exports, self.webhooks):
                running.enter_context(beside)
            self.here = True
            self._end.wait()
            self.here = False
            for beside in (*self.exports, self.webhooks):
                beside.end()  # all at once, so that none waits for another

    def _failed(self, form: str, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.error(f"nobody here can export, tell webhooks or follow others: {form}", error)
