"""The server's log on standard error: lines for people, or a JSON object a line for machines.

Whatever comes from elsewhere is escaped, so that one record is one line of JSON, or one line of text with what belongs
to it indented below: nobody can write a line that looks like another record. No header, query, token or secret is
logged.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being worked on; empty outside of one."""
MAX_MESSAGE = 8_000
"""How many characters of a message, and of a traceback, are logged."""
CHATTY = ("boto3", "botocore", "s3transfer", "urllib3")
"""Libraries whose debugging logs addresses, headers and bodies: theirs is never switched on from here."""


@contextmanager
def configured(form: Format, level: str, stream: TextIO | None = None, worker: int = 0) -> Iterator[None]:
    """Log to standard error in this form, and afterwards as before.

    Args:
        form: text or JSON.
        level: one of :data:`LEVELS`; what is below is left out.
        stream: where to, instead of standard error.
        worker: the number of this process in its team, which every line carries; 0 for a process of its own.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(worker) if form == "json" else TextLines(worker))
    loggers = [logging.getLogger(), *map(logging.getLogger, CHATTY)]
    root, levels = loggers[0], [logger.level for logger in loggers]
    handlers, root.handlers = root.handlers, [handler]
    root.setLevel(level.upper())
    for logger in loggers[1:]:
        logger.setLevel(max(root.level, logging.WARNING))
    try:
        yield
    finally:
        root.handlers = handlers
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)


class JsonLines(logging.Formatter):
    """A JSON object a record."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._more = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_MESSAGE],
            **self._more,
        }
        if found := request_id.get():
            line["request_id"] = found
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-MAX_MESSAGE:]
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """A line for people, with whatever else belongs to it indented below."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._more = f" worker {worker}" if worker else ""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        parts = [_escaped(record.getMessage()[:MAX_MESSAGE])]
        if record.exc_info:
            parts.append(_escaped(self.formatException(record.exc_info)[-MAX_MESSAGE:]))
        body = "\n".join(parts).replace("\n", "\n    ")
        found = request_id.get()
        mark = f" [{found}]" if found else ""
        return f"{_time(record)} {record.levelname.lower():<7} {record.name}{self._more}{mark}: {body}"


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
