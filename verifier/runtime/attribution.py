"""Whose work this is.

The frames of the stack come first: the innermost frame that runs in the globals of a verified module names its plugin,
also in a thread, in a finaliser that runs in the middle of another plugin's work, or in a callback. Where no such frame
is on the stack, the current run does, and then the run in which this thread was started. Code in the same process that
means to hide can do so; nothing here stops it.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Literal, NamedTuple

from verifier.importing import Owner, innermost_owner
from verifier.runtime.runs import Run, active_runs
from verifier.runtime.threads import runs_of_thread

How = Literal["frames", "run", "thread", "nobody"]
"""By what something was attributed: a frame of the plugin, the run, the run that started the thread; or not at all."""


class Attribution(NamedTuple):
    """Whose work something is. ``run_id`` is empty where the work is a plugin's, but in none of its runs."""

    plugin_id: str
    artifact_digest: str
    run_id: str


class Trace(NamedTuple):
    """Whose work something is, and by what that is known.

    Attributes:
        who: whose; None if no plugin's.
        run: the run that it belongs to, if any.
        how: what told.
        ambiguous: whether frames and run name different plugins.
    """

    who: Attribution | None
    run: Run | None
    how: How
    ambiguous: bool


def attribute() -> Attribution | None:
    """Whose work the caller is doing; None if no plugin's."""
    found, run_id = find(sys._getframe(1))
    return None if found is None else Attribution(found.plugin_id, found.artifact_digest, run_id)


def find(frame: FrameType) -> tuple[Owner | Run | None, str]:
    """What names the plugin whose work a frame is doing, if any, and the id of the run that it belongs to, if any."""
    owner, runs = innermost_owner(frame), active_runs() or runs_of_thread()
    if owner is None:
        return (runs[-1], runs[-1].run_id) if runs else (None, "")
    run = _run_of(owner, runs)
    return owner, "" if run is None else run.run_id


def trace(frame: FrameType | None) -> Trace:
    """Whose work a frame is doing, with everything that is known of it."""
    owner, context = innermost_owner(frame), active_runs()
    runs = context or runs_of_thread()
    if owner is not None:
        run = _run_of(owner, runs)
        return Trace(_of(owner, run), run, "frames", bool(runs) and run is not runs[-1])
    if not runs:
        return Trace(None, None, "nobody", False)
    return Trace(_of_run(runs[-1]), runs[-1], "run" if context else "thread", False)


def _run_of(owner: Owner, runs: tuple[Run, ...]) -> Run | None:
    for run in runs[::-1]:
        if run.artifact_digest == owner.artifact_digest and run.plugin_id == owner.plugin_id:
            return run
    return None


def _of(owner: Owner, run: Run | None) -> Attribution:
    return Attribution(owner.plugin_id, owner.artifact_digest, "" if run is None else run.run_id)


def _of_run(run: Run) -> Attribution:
    return Attribution(run.plugin_id, run.artifact_digest, run.run_id)
