"""Log records say which plugin wrote them, in which run.

Each record of a plugin carries ``plugin_id``, ``artifact_digest`` and ``run_id``; every other record has them too,
empty, so that one format serves all. They are written last, when a logger hands the record to the handlers: what the
plugin put there itself, by ``extra``, by a filter on its logger or by making a record of its own, is overwritten.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from verifier.runtime.attribution import Attribution, attribute

FIELDS: Final = Attribution._fields


_CallHandlers = Callable[[logging.Logger, logging.LogRecord], None]


class _Stamping:
    """What takes the place of ``logging.Logger.callHandlers``, and puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._original: _CallHandlers | None = None
        self._replacement: _CallHandlers | None = None
        self._active = False

    def install(self) -> None:
        with self._lock:
            self._active = True
            if self._original is None:
                original = self._original = logging.Logger.callHandlers
                stamping = self

                def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
                    if stamping._active:
                        stamp(record)
                    original(logger, record)

                self._replacement = call_handlers
                logging.Logger.callHandlers = call_handlers  # type: ignore[assignment, method-assign]

    def uninstall(self) -> None:
        with self._lock:
            self._active = False
            # Where somebody else has since wrapped it, ours stays below theirs and only hands on.
            if self._original is not None and logging.Logger.callHandlers is self._replacement:
                logging.Logger.callHandlers = self._original  # type: ignore[assignment, method-assign]
                self._original = None


def stamp(record: logging.LogRecord) -> None:
    """Write whose work the caller is doing into a log record."""
    found = attribute()
    if found is None:
        for name in FIELDS:
            record.__dict__.setdefault(name, "")  # a host may use these names for itself
    else:
        record.__dict__.update(found._asdict())


def install() -> None:
    """Stamp all log records of this process from now on. Installing twice is installing once."""
    _STAMPING.install()


def uninstall() -> None:
    """Stamp no longer, and leave ``logging`` as it was found."""
    _STAMPING.uninstall()


def active() -> bool:
    """Whether log records are stamped now."""
    return _STAMPING._active


# One for the process, like the logging module that it extends.
_STAMPING = _Stamping()
