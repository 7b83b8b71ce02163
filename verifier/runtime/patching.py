"""A method of a library in whose place another stands for as long as it is wanted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any


class Patch:
    """Replaces one method, and puts it back.

    Args:
        owner: the class.
        name: the method.
        wrap: makes the new method of the old one. It asks :attr:`active` at each call, and does as the old one where
            that is false.

    Attributes:
        active: whether the new method is to do what it is there for.
    """

    def __init__(self, owner: type, name: str, wrap: Callable[[Patch, Callable[..., Any]], Callable[..., Any]]) -> None:
        self.active = False
        self._owner, self._name, self._wrap = owner, name, wrap
        self._lock = threading.Lock()
        self._original: Callable[..., Any] | None = None
        self._replacement: Callable[..., Any] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def install(self) -> None:
        """Put it in place. Installing twice is installing once."""
        with self._lock:
            self.active = True
            if self._original is None:
                self._original = getattr(self._owner, self._name)
                self._replacement = self._wrap(self, self._original)
                setattr(self._owner, self._name, self._replacement)

    def uninstall(self) -> None:
        """Put back what was found."""
        with self._lock:
            self.active = False
            # Where somebody else has since wrapped it, ours stays below theirs and only hands on.
            if self._original is not None and getattr(self._owner, self._name) is self._replacement:
                setattr(self._owner, self._name, self._original)
                self._original = None

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
