"""Log records say which plugin wrote them, in which run.

Each record of a plugin carries ``plugin_id``, ``artifact_digest`` and ``run_id``; every other record has them too,
empty, so that one format serves all. They are written last, when a logger hands the record to the handlers: what the
plugin put there itself, by ``extra``, by a filter on its logger or by making a record of its own, is overwritten.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Final

from verifier.importing import Owner
from verifier.runtime.attribution import Attribution, find
from verifier.runtime.patching import Patch
from verifier.runtime.runs import Run

FIELDS: Final = Attribution._fields


def _stamping(patch: Patch, original: Callable[..., Any]) -> Callable[..., Any]:
    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if patch.active:
            _stamp(record.__dict__, *find(sys._getframe(1)))
        original(logger, record)

    return call_handlers


def _stamp(fields: dict[str, Any], found: Owner | Run | None, run_id: str) -> None:
    """Write into a log record whose work it comes from."""
    if found is None:
        for name in FIELDS:
            fields.setdefault(name, "")  # a host may use these names for itself
    else:
        fields["plugin_id"], fields["artifact_digest"] = found.plugin_id, found.artifact_digest
        fields["run_id"] = run_id


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
