"""How a package contributes subcommands to ``loadlock``: what a command is, and where its output goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from verifier.errors import Unreachable, UsageError
from verifier.progress import Lines, Progress
from verifier.value import Value

if TYPE_CHECKING:
    import argparse

    from verifier.formats.text import Text

TextT = TypeVar("TextT", bound="Text")


class Output(Protocol):
    """Where a command's results go: sentences for a person, or one JSON object for a program.

    Attributes:
        json: whether a program asked.
        progress: is told of the steps of long work.
    """

    json: bool
    progress: Progress

    def say(self, text: str = "") -> None:
        """Print a line for a person; silent with ``--json``."""

    def result(self, value: dict[str, Any]) -> None:
        """Print the command's one JSON object; silent without ``--json``."""


class StandardOutput:
    """The usual :class:`Output`: to the standard output stream."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.json = as_json
        self.progress = Progress(Lines(self.say))

    def say(self, text: str = "") -> None:
        """Print a line for a person; silent with ``--json``. Raises as :meth:`result`."""
        if not self.json:
            _print(f"{text}\n")

    def result(self, value: dict[str, Any]) -> None:
        """Print the command's one JSON object; silent without ``--json``.

        Raises:
            Unreachable: ``io.failed``.
            BrokenPipeError: nobody reads.
        """
        if self.json:
            _print(f"{json.dumps(value, ensure_ascii=False)}\n")


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> Unreachable:
    """That what a command says cannot be written."""
    return Unreachable("io.failed", "cannot write to standard output", found=error.strerror or str(error))


class Command(Value, frozen=True):
    """One subcommand.

    Attributes:
        name: one or two words, such as ``verify`` or ``host enroll``.
        help: one line for the table of contents.
        configure: declares the command's own arguments.
        run: does the work; raises :class:`verifier.errors.LoadlockError` for anything but success, or returns the exit
            status when it has already said what went wrong.
    """

    name: str
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Output], int | None]


def given(kind: type[TextT], value: str, what: str) -> TextT:
    """An argument in its own type.

    Raises:
        UsageError: ``usage.arguments``.
    """
    try:
        return kind(value)
    except ValueError as error:
        expected = str(error).partition(", found ")[0].removeprefix("expected ")
        raise UsageError(
            "usage.arguments", f"{what} is not usable", found=repr(value[:100]), expected=expected
        ) from None
