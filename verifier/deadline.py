"""A deadline around work that has none of its own, such as a library's talk with a service."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from verifier.errors import LoadlockError

Result = TypeVar("Result")


def within(limit: timedelta, work: Callable[[], Result], late: Callable[[], LoadlockError]) -> Result:
    """Do ``work``, and wait no longer than ``limit`` for it.

    A thread cannot be stopped: work that comes too late goes on unheard until the process ends, which it does not keep
    from ending. It must therefore change nothing that is read elsewhere.

    Args:
        limit: how long to wait.
        work: what is done, in a thread of its own.
        late: makes the error for when it takes longer.

    Raises:
        LoadlockError: what ``late`` makes.
        BaseException: what ``work`` raised.
    """
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="loadlock-deadline", daemon=True)
    thread.start()
    thread.join(limit.total_seconds())
    if failures:
        raise failures[0]
    if not results:
        raise late()
    return results[0]
