"""Work that is handed to a thread goes on belonging to the run in which it was handed over.

A context variable does not reach plain threads and the workers of a pool. So a thread remembers the runs of whoever
started it, and a pool's worker takes up the runs of whoever submitted, for that piece of work alone: who made the pool
start it does not matter. Nothing else of a context is carried along: what plugin and host see of theirs stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from verifier.runtime.patching import Patch
from verifier.runtime.runs import Run, active_runs, within

_ATTRIBUTE: Final = "_loadlock_runs"
_SUBMITTING: ContextVar[bool] = ContextVar("loadlock_submitting", default=False)


def runs_of_thread() -> tuple[Run, ...]:
    """The runs in which this thread was started; the innermost last."""
    # Not current_thread(): of a thread that Python did not start, that would make a stand-in, for everybody to see.
    thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    found: tuple[Run, ...] = () if thread is None else thread.__dict__.get(_ATTRIBUTE, ())
    return found


def _starting(patch: Patch, original: Callable[..., Any]) -> Callable[..., Any]:
    def start(thread: threading.Thread) -> None:
        runs = patch.active and not _SUBMITTING.get() and (active_runs() or runs_of_thread())
        if runs:
            thread.__dict__[_ATTRIBUTE] = runs
        original(thread)

    return start


def _submitting(patch: Patch, original: Callable[..., Any]) -> Callable[..., Any]:
    def submit(pool: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        runs = patch.active and (active_runs() or runs_of_thread())
        if not runs:
            return original(pool, function, *args, **kwargs)
        token = _SUBMITTING.set(True)  # the pool may start a worker, which outlives this
        try:
            return original(pool, within, runs, function, *args, **kwargs)
        finally:
            _SUBMITTING.reset(token)

    return submit


@cache
def _patches() -> tuple[Patch, ...]:
    from concurrent.futures import ThreadPoolExecutor  # two milliseconds, from the first run on

    return Patch(threading.Thread, "start", _starting), Patch(ThreadPoolExecutor, "submit", _submitting)


def install() -> None:
    """Let threads and pools remember runs from now on. Installing twice is installing once."""
    for patch in _patches():
        patch.install()


def uninstall() -> None:
    """Leave them as they were found."""
    for patch in _patches():
        patch.uninstall()
