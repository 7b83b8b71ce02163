"""Log records say which plugin wrote them, in which run.

Each record of a plugin carries ``plugin_id``, ``artifact_digest`` and ``run_id``; every other record has them too,
empty, so that one format serves all. They are written last, when a logger hands the record to the handlers: what the
plugin put there itself, by ``extra``, by a filter on its logger or by making a record of its own, is overwritten.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from verifier.runtime.attribution import Attribution, attribute
from verifier.runtime.patching import Patch

FIELDS: Final = Attribution._fields


def _stamping(patch: Patch, original: Callable[..., Any]) -> Callable[..., Any]:
    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if patch.active:
            _stamp(record, sys._getframe(1))  # ours are not asked, which is a third of what it costs
        original(logger, record)

    return call_handlers


def _stamp(record: logging.LogRecord, frame: FrameType) -> None:
    """Write whose work a frame is doing into a log record."""
    found = attribute(frame)
    if found is None:
        for name in FIELDS:
            record.__dict__.setdefault(name, "")  # a host may use these names for itself
    else:
        fields = record.__dict__
        fields["plugin_id"], fields["artifact_digest"], fields["run_id"] = found


def install() -> None:
    """Stamp all log records of this process from now on. Installing twice is installing once."""
    _STAMPING.install()


def uninstall() -> None:
    """Stamp no longer, and leave ``logging`` as it was found."""
    _STAMPING.uninstall()


def active() -> bool:
    """Whether log records are stamped now."""
    return _STAMPING.active


# One for the process, like the logging module that it extends.
_STAMPING: Final = Patch(logging.Logger, "callHandlers", _stamping)
