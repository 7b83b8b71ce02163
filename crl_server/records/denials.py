"""Refused writes in the audit log: so many an hour of the clock and of the whole service, whoever of it refuses.

Strangers are counted by themselves: anybody can be one, and must not use up what would tell of people who are known.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from crl_server.access.roles import Operation
from crl_server.records.audit import Act
from crl_server.storage.store import Store

STRANGER: Final = "anonymous"
"""The actor of a request that came without a token that is valid."""
MAX_DENIALS: Final = 100
"""How many refused writes are recorded within an hour of the clock: of strangers, and of people who are known."""


class Denials:
    """Records refused writes for one deployment's database. Safe from any thread.

    Args:
        store: the database, whose setting counts what was recorded: ``denials-strangers`` and ``denials-known``, each
            the hour and how many.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._full: dict[str, str] = {}

    def record(self, actor: str, operation: Operation, code: str, now: datetime) -> None:
        """Record a refused write, unless too many were recorded within the hour.

        Args:
            actor: who was refused.
            operation: what.
            code: the refusal's.
            now: the moment (aware, UTC).

        Raises:
            Unreachable: ``io.failed``.
        """
        setting = "denials-strangers" if actor == STRANGER else "denials-known"
        hour = f"{now:%Y-%m-%dT%H}"
        if self._full.get(setting) == hour:
            return  # as this process has seen itself: no transaction for each of a flood
        with self._store.write() as ledger:
            counted, _, count = (ledger.setting(setting) or "").partition(" ")
            recorded = int(count) + 1 if counted == hour else 1
            if recorded <= MAX_DENIALS:
                detail: dict[str, object] = {"code": code}
                if recorded == MAX_DENIALS:
                    detail["more"] = "further refusals of this hour are not recorded"
                ledger.record(Act(actor, "access.denied", operation, detail), now)
                ledger.set(setting, f"{hour} {recorded}")
        if recorded >= MAX_DENIALS:
            self._full[setting] = hour
