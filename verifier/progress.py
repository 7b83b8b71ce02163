"""How long work tells of its steps: as lines for people, live on a terminal, as events for programs.

What does the work says when a step begins and ends; who listens is the command line's business::

    with progress.step("build") as step:
        made = build(…)
        step.says(f"{made.file_name}, no network")
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from msgspec import Struct

from verifier.errors import LoadlockError, Unreachable, UsageError

WIDTH = 20
"""The column at which what a step found begins."""
UNEXPECTED = "internal.unexpected"


class Step(Struct):
    """One step of the work.

    Attributes:
        name: what is done.
        detail: what was found, once it is known.
        whole: whether this is the command as a whole rather than a part of it.
    """

    name: str
    detail: str = ""
    whole: bool = False

    def says(self, detail: str) -> None:
        """Say what the step found."""
        self.detail = detail


class Listener(Protocol):
    """Is told of steps."""

    def began(self, step: Step) -> None:
        """A step begins."""

    def ended(self, step: Step, ms: float, code: str | None) -> None:
        """A step ended, after ``ms`` milliseconds; ``code`` is that of its error, None when it is done."""


class Progress:
    """Tells listeners of steps.

    Args:
        listeners: who is told, in this order.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    @contextmanager
    def step(self, name: str, *, whole: bool = False) -> Iterator[Step]:
        """Work on one step; an error that leaves it is told of and goes on."""
        step, started = Step(name, whole=whole), perf_counter()
        for listener in self._listeners:
            listener.began(step)
        try:
            yield step
        except BaseException as error:
            self._end(step, started, error.code if isinstance(error, LoadlockError) else UNEXPECTED)
            raise
        self._end(step, started, None)

    def done(self, name: str, detail: str) -> None:
        """Tell of a step that took no time of its own."""
        with self.step(name) as step:
            step.says(detail)

    def _end(self, step: Step, started: float, code: str | None) -> None:
        ms = (perf_counter() - started) * 1000
        for listener in self._listeners:
            listener.ended(step, ms, code)


SILENT = Progress()
"""For whoever wants to hear nothing."""


class Lines:
    """A line for each step that is done.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def began(self, step: Step) -> None:
        """Nothing: a line is written once it is whole."""

    def ended(self, step: Step, ms: float, code: str | None) -> None:
        """Print the line; what went wrong is told by the error itself."""
        if code is None and not step.whole:
            for line in f"{step.name:<{WIDTH}}{step.detail}".rstrip().split("\n"):
                self._say(line)


class Events:
    """An object a line (JSON, UTF-8) for each beginning and end; ``docs/spec/events.md``.

    Args:
        write: takes each line.
        close: is called at the end.
    """

    def __init__(self, write: Callable[[str], object], close: Callable[[], None] = lambda: None) -> None:
        self._write = write
        self.close = close
        self._began = perf_counter()
        self._count = 0

    @classmethod
    def to(cls, name: str) -> Events:
        """Events into the file of that name, or, for ``-``, to standard error.

        Raises:
            UsageError: ``io.failed``.
        """
        if name == "-":
            return cls(_to_standard_error)
        try:
            # A pipe that nobody reads from would otherwise be waited for.
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        except (OSError, ValueError) as error:
            found = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UsageError("io.failed", f"cannot write events to {Path(name).name!r}", found=found) from error
        os.set_blocking(descriptor, True)
        return cls(partial(_write, descriptor), partial(os.close, descriptor))

    def began(self, step: Step) -> None:
        """Tell of a beginning."""
        self._tell(step, "began")

    def ended(self, step: Step, ms: float, code: str | None) -> None:
        """Tell of an end."""
        found = {"detail": step.detail} if step.detail else {}
        self._tell(step, "failed" if code else "done", ms=round(ms, 1), **found, **({"code": code} if code else {}))

    def _tell(self, step: Step, state: str, **fields: Any) -> None:
        at = round((perf_counter() - self._began) * 1000, 1)
        kind = "command" if step.whole else "step"
        event = {"v": 1, "seq": self._count, "at": at, kind: step.name, "state": state, **fields}
        self._count += 1
        try:
            self._write(json.dumps(event, ensure_ascii=False) + "\n")
        except (OSError, ValueError) as error:
            raise Unreachable("io.failed", "cannot write events", found=str(error)) from error


def _to_standard_error(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


def _write(descriptor: int, line: str) -> None:
    """All of it: a pipe may take less at a time."""
    data = line.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]
