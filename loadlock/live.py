"""Who listens to a command's steps: the terminal, and whoever asked for events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

from verifier.command import Output, StandardOutput
from verifier.progress import Events, Lines, Listener, Progress, Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


class Live:
    """Shows on a terminal which step runs, and takes that away when it ends.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def began(self, step: Step) -> None:
        """Show the step; the command as a whole is no news."""
        if not step.whole:
            self._status = self._console.status(_plain(step.name))
            self._status.start()

    def ended(self, step: Step, ms: float, code: str | None) -> None:
        """Take it away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _plain(text: str) -> Any:
    """Text that rich takes for nothing else."""
    from rich.text import Text

    return Text(text)


@contextmanager
def listening(output: Output, events: str | None) -> Iterator[None]:
    """Have the usual output's steps heard where they should be.

    Args:
        output: the command's output; one that is not the usual one listens for itself.
        events: what was given for ``--events``.

    Raises:
        UsageError: ``io.failed``: the file cannot be written.
    """
    if not isinstance(output, StandardOutput):
        yield
        return
    with ExitStack() as stack:
        listeners: list[Listener] = []
        if events:
            listeners.append(stack.enter_context(closing(Events.to(events))))
        console = None if events == "-" else _terminal()
        if console is not None:
            listeners.append(Live(console))
        output.progress = Progress(*listeners, Lines(output.say))
        yield


def _terminal() -> Console | None:
    """Standard error, if it is a terminal and rich is installed."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    return console if console.is_terminal and not console.is_dumb_terminal else None
