"""Hearing of hosts: claims are gathered in memory, and kept together a moment later.

A revocation makes every host speak within a second or two. A transaction for each would keep the next revocation
waiting; and what is lost when the process dies is said again. So nothing is durable when a claim is answered, and a
transaction keeps a few of them at a time, short enough for a revocation to come between.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime

from crl_server.fleet import hosts
from crl_server.fleet.hosts import Heard
from crl_server.storage.store import Store
from verifier.errors import LoadlockError, Refused
from verifier.formats.acknowledgement import Acknowledgement, Instance
from verifier.formats.text import Name

MAX_WAITING = 10_000
"""How many claims may wait to be kept."""
AT_ONCE = 100
"""How many are kept in one transaction."""
PAUSE = 0.25
"""Seconds between two looks at what waits."""

log = logging.getLogger("crl_server")


class Hearing:
    """Takes claims for one deployment's database. Safe from any thread.

    Args:
        store: the database.
        waiting: how many claims may wait.
    """

    def __init__(self, store: Store, waiting: int = MAX_WAITING) -> None:
        self._store = store
        self._limit = waiting
        self._waiting: dict[tuple[Name, Instance], Heard] = {}
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, claim: Acknowledgement, now: datetime) -> None:
        """Remember a claim, in place of an earlier one of the same instance.

        Raises:
            Refused: ``server.hearing`` when too many wait.
        """
        with self._lock:
            key = (claim.host, claim.instance)
            if key not in self._waiting and len(self._waiting) >= self._limit:
                raise Refused("server.hearing", "too many acknowledgements wait", found=str(len(self._waiting)))
            self._waiting[key] = Heard(claim, now)
            if self._thread is None and not self._end.is_set():
                self._thread = threading.Thread(target=self._run, name="hearing", daemon=True)
                self._thread.start()

    def keep(self) -> None:
        """Keep all that waits.

        What fails for any other reason than the database is let go of: its hosts say it again, and it must not stand in
        the way of what the others say.

        Raises:
            Unreachable: ``io.failed``; what was not kept waits on, behind the others.
        """
        with self._keeping:
            while batch := self._batch():
                try:
                    with self._store.write() as ledger:
                        hosts.keep(ledger, batch.values())
                except LoadlockError:
                    with self._lock:
                        for key, heard in batch.items():
                            self._waiting.setdefault(key, heard)  # what came meanwhile is newer
                    raise

    def close(self) -> None:
        """Keep what waits, and take no more of the thread's time."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self._keep_quietly()

    def _batch(self) -> dict[tuple[Name, Instance], Heard]:
        with self._lock:
            keys = list(self._waiting)[:AT_ONCE]
            return {key: self._waiting.pop(key) for key in keys}

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            self._keep_quietly()

    def _keep_quietly(self) -> None:
        try:
            self.keep()
        except LoadlockError as error:
            log.error("what hosts acknowledged could not be kept yet: %s", error)
        except Exception:
            log.exception("what hosts acknowledged could not be kept yet")
