"""What is done once for a deployment's directory, however many processes serve it: signing again, exporting, telling.

Every process of a server has these chores, and one at a time does them: the one that holds the lock file. Whatever ends
that one, the system lets go of its lock, and another process takes over within a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
    """

    def __init__(
        self, authority: Authority, clock: Clock, reminder: Reminder | None = None, interval: float = INTERVAL
    ) -> None:
        super().__init__("maintenance")
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
                self._reminder.tell(self._authority.warnings(now), now)
            except LoadlockError as error:
                log.error("the list could not be kept fresh: %s", error)
            except Exception:
                # Whatever it was, the next look may succeed; hosts notice a stale list, and readyz tells.
                log.exception("the list could not be kept fresh")


class Chores(Background):
    """A thread that does the chores while nobody else does.

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
        self._maintenance = Maintenance(authority, clock, reminder)

    def _run(self) -> None:
        failing = False
        while not self._end.is_set():
            try:
                with exclusive_if_free(self._authority.layout.chores_lock) as free:
                    if free:
                        self._work()
            except LoadlockError as error:
                if not failing:
                    log.error("nobody here can keep the list fresh, export or tell: %s", error)
                failing = True
            else:
                failing = False
            self._end.wait(LOOK)

    def _work(self) -> None:
        """Do the chores until the end."""
        with ExitStack() as running:
            running.enter_context(Follower(self._authority.tree))
            running.enter_context(self._maintenance)
            for beside in (*self.exports, self.webhooks):
                running.enter_context(beside)
            self.here = True
            self._end.wait()
            self.here = False
            for beside in (*self.exports, self.webhooks):
                beside.end()  # all at once, so that none waits for another
