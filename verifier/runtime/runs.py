"""One run of a plugin, and the context that carries it along.

The context is a context variable: it follows calls, asyncio tasks and ``contextvars.copy_context``. It does not follow
plain threads; their work is attributed by the plugin's frames (:mod:`verifier.runtime.attribution`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ParamSpec, Self, TypeVar
from uuid import uuid4

from verifier.runtime.switch import Switch

P = ParamSpec("P")
T = TypeVar("T")


def _new_id() -> str:
    return uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One run of one plugin; a context manager, inside which it is the current run.

    Entering raises ``PluginRevoked`` once the switch was thrown.

    Attributes:
        plugin_id: whose run this is.
        artifact_digest: "sha256:<64 hex>" of the wheel that runs.
        switch: refuses once the plugin is revoked.
        run_id: 32 hex digits, random.
    """

    plugin_id: str
    artifact_digest: str
    switch: Switch = field(repr=False)
    run_id: str = field(default_factory=_new_id)

    def __enter__(self) -> Self:
        self.switch.check()
        _ACTIVE.set((*_ACTIVE.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        # By value, not by a token: one run may be entered in several threads and tasks, and more than once in each.
        # A context that it was not entered in has nothing to undo.
        runs = _ACTIVE.get()
        for at in range(len(runs) - 1, -1, -1):
            if runs[at] is self:
                _ACTIVE.set(runs[:at] + runs[at + 1 :])
                break

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the plugin within this run.

        Raises:
            PluginRevoked: the switch was thrown before.
        """
        with self:
            return function(*args, **kwargs)


_ACTIVE: ContextVar[tuple[Run, ...]] = ContextVar("loadlock_runs", default=())


def current() -> Run | None:
    """The innermost run of this context; None outside all runs."""
    runs = _ACTIVE.get()
    return runs[-1] if runs else None


def active_runs() -> tuple[Run, ...]:
    """All runs of this context, the innermost last."""
    return _ACTIVE.get()
