"""A thread that writes what other servers have published, as soon as they say so.

PostgreSQL tells it; beside that it looks by itself every now and then, and at once after a lost connection, since what
is told while nobody listens is lost. A failure is logged once, and tried again until it is over.
"""

from __future__ import annotations

import logging
from typing import Self

from crl_server.background import Background
from crl_server.lists.public_tree import PublicTree
from verifier.errors import LoadlockError

LOOK = 1.0
"""How long, in seconds, to wait to be told before looking all the same; so long may ending take, too."""
AGAIN = 0.5
"""How long, in seconds, to wait after a failure."""

log = logging.getLogger("crl_server")


class Follower(Background):
    """Keeps the tree of this server up to date with what the others publish; does nothing for a server of its own.

    Args:
        tree: the tree.
        look: seconds between two looks that nobody has asked for.
    """

    def __init__(self, tree: PublicTree, look: float = LOOK) -> None:
        super().__init__("following")
        self._tree = tree
        self._look = look
        self._failing = False

    def __enter__(self) -> Self:
        return super().__enter__() if self._tree.store.replicated else self

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._follow()
            except LoadlockError as error:
                self._failed("%s", error)
            except Exception as error:
                # Whatever it was, the next try may succeed; hosts notice a stale list, and readyz tells.
                self._failed("%r", error)
            self._end.wait(AGAIN)

    def _follow(self) -> None:
        with self._tree.store.listening() as wait:
            while not self._end.is_set():
                self._tree.catch_up()
                if self._failing:
                    self._failing = False
                    log.warning("what other servers publish is followed again")
                wait(self._look)

    def _failed(self, form: str, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.error(f"what other servers publish cannot be followed: {form}", error)
