"""Tells a story step by step: live on a terminal, plain lines elsewhere, one JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Literal

from verifier.command import Output
from verifier.errors import LoadlockError

OK = "ok"


@dataclass(frozen=True)
class Step:
    """One step of the story: what should happen (``ok`` or an error's code), what did, and its milliseconds."""

    name: str
    expected: str
    outcome: Literal["ok", "refused", "failed"]
    code: str | None
    ms: float

    @property
    def right(self) -> bool:
        """Whether what should happen did."""
        return self.expected == (self.code or OK)


class Narrator:
    """Runs the steps of a story and tells each one's outcome.

    Args:
        output: where to tell it.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self.steps: list[Step] = []

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._output.say()
        self._output.say(title)

    def tell(self, text: str) -> None:
        """Say what a step showed, below its line."""
        self._output.say(f"      {text}")

    def step(self, name: str, sentence: str, action: Callable[[], Any]) -> Any:
        """Do something that has to work; its value is handed on.

        Raises:
            LoadlockError: it did not work; the story cannot go on.
        """
        started = perf_counter()
        try:
            with _spinner(sentence, self._output):
                value = action()
        except LoadlockError as error:
            self._record(name, OK, sentence, error, started)
            raise
        self._record(name, OK, sentence, None, started)
        return value

    def refusal(self, name: str, code: str, sentence: str, action: Callable[[], Any]) -> None:
        """Do something that has to be refused with ``code``; the story goes on, and fails, when it is not."""
        started, error = perf_counter(), None
        try:
            with _spinner(sentence, self._output):
                action()
        except LoadlockError as refused:
            error = refused
        self._record(name, code, sentence, error, started)
        if error is not None:
            for line in str(error).splitlines():
                self.tell(line)

    @property
    def ok(self) -> bool:
        """Whether every step so far ended as it should."""
        return all(step.right for step in self.steps)

    def document(self) -> dict[str, Any]:
        """The whole story as one JSON object."""
        return {"steps": [asdict(step) for step in self.steps], "ok": self.ok}

    def _record(self, name: str, expected: str, sentence: str, error: LoadlockError | None, started: float) -> None:
        outcome: Literal["ok", "refused", "failed"] = OK  # type: ignore[assignment]
        if error is not None:
            outcome = "refused" if error.exit_status == 1 else "failed"
        ms = round((perf_counter() - started) * 1000, 1)
        step = Step(name, expected, outcome, error.code if error else None, ms)
        self.steps.append(step)
        mark = outcome if step.right else f"WRONG: {outcome}, expected {expected}"
        self._output.say(f"{len(self.steps):>3}. {sentence:<84} {mark:>8} {ms / 1000:7.2f} s")


def _spinner(sentence: str, output: Output) -> AbstractContextManager[Any]:
    if output.json or not sys.stdout.isatty():
        return nullcontext()
    try:
        from rich.console import Console
    except ImportError:
        return nullcontext()
    return Console().status(sentence)
