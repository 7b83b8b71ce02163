"""What runs beside the service: a thread that works while inside its block, and ends with it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """A thread that :meth:`_run` fills, which looks at :attr:`_end` wherever it waits.

    Args:
        name: the thread's name, as logs and debuggers show it.
        patience: how long, in seconds, leaving the block waits for what is under way; None to wait for its end.
    """

    def __init__(self, name: str, patience: float | None = None) -> None:
        self._patience = patience
        self._end = threading.Event()
        # A daemon, so that one that is not waited for to its end does not keep the process either.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def end(self) -> None:
        """Begin to end; leaving the block waits for it."""
        self._end.set()

    def __exit__(self, *_: object) -> None:
        self.end()
        if self._thread.is_alive():
            self._thread.join(self._patience)

    @abstractmethod
    def _run(self) -> None:
        """Work until :attr:`_end` is set; what fails is logged or counted here, since nobody else hears of it."""
