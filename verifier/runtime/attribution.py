"""Whose work this is.

The frames of the stack come first: the innermost frame that runs in the globals of a verified module names its plugin,
also in a thread, in a finaliser that runs in the middle of another plugin's work, or in a callback. Where no such frame
is on the stack, the current run does. Code in the same process that means to hide can do so; nothing here stops it.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import NamedTuple

from verifier.importing import Owner, owner_of
from verifier.runtime.runs import active_runs


class Attribution(NamedTuple):
    """Whose work something is. ``run_id`` is empty where the work is a plugin's, but in none of its runs."""

    plugin_id: str
    artifact_digest: str
    run_id: str


def attribute() -> Attribution | None:
    """Whose work the caller is doing; None if no plugin's."""
    owner, runs = _innermost_owner(sys._getframe(1)), active_runs()
    if owner is None:
        return Attribution(runs[-1].plugin_id, runs[-1].artifact_digest, runs[-1].run_id) if runs else None
    for run in reversed(runs):
        if (run.plugin_id, run.artifact_digest) == (owner.plugin_id, owner.artifact_digest):
            return Attribution(owner.plugin_id, owner.artifact_digest, run.run_id)
    return Attribution(owner.plugin_id, owner.artifact_digest, "")


def _innermost_owner(frame: FrameType | None) -> Owner | None:
    while frame is not None:
        owner = owner_of(frame.f_globals)
        if owner is not None:
            return owner
        frame = frame.f_back
    return None
