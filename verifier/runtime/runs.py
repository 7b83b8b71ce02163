"""One run of a plugin, and the context that carries it along.

The context is a context variable: it follows calls, asyncio tasks and ``contextvars.copy_context``. It does not follow
plain threads; their work is attributed by the plugin's frames, and by who started them
(:mod:`verifier.runtime.attribution`, :mod:`verifier.runtime.threads`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, Self, TypeVar

import msgspec

from verifier.runtime.observed import UNOBSERVED, Log, Observed
from verifier.runtime.switch import Switch
from verifier.value import Value

P = ParamSpec("P")
T = TypeVar("T")


def _new_id() -> str:
    return os.urandom(16).hex()


class Run(Value, frozen=True, kw_only=True, eq=False):
    """One run of one plugin; a context manager, inside which it is the current run.

    Entering raises ``PluginRevoked`` once the switch was thrown.

    Attributes:
        plugin_id: whose run this is.
        artifact_digest: "sha256:<64 hex>" of the wheel that runs.
        switch: refuses once the plugin is revoked.
        run_id: 32 hex digits, random.
        log: what is recorded of it; None where nothing is.
    """

    unshown = frozenset({"switch", "log"})

    plugin_id: str
    artifact_digest: str
    switch: Switch
    run_id: str = msgspec.field(default_factory=_new_id)
    log: Log | None = None

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

    @property
    def observed(self) -> Observed:
        """What the plugin has reached for in this run so far (``docs/spec/observation.md``)."""
        return UNOBSERVED if self.log is None else self.log.view()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the plugin within this run.

        Raises:
            PluginRevoked: the switch was thrown before.
        """
        with self:
            return function(*args, **kwargs)


def within(runs: tuple[Run, ...], function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function with these as the runs of this context, the innermost last."""
    token = _ACTIVE.set(runs)
    try:
        return function(*args, **kwargs)
    finally:
        _ACTIVE.reset(token)


_ACTIVE: ContextVar[tuple[Run, ...]] = ContextVar("loadlock_runs", default=())


def current() -> Run | None:
    """The innermost run of this context; None outside all runs."""
    runs = _ACTIVE.get()
    return runs[-1] if runs else None


def active_runs() -> tuple[Run, ...]:
    """All runs of this context, the innermost last."""
    return _ACTIVE.get()
