"""The first page: what is revoked, what expires, who is behind, what waits for somebody."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request, Response

from crl_server.console import plots, questions
from crl_server.console.desk import Desk, Facts
from crl_server.console.door import Visitor
from crl_server.console.hosts_pages import coverage
from crl_server.storage.ledger import Ledger
from verifier.errors import Refused

SHOWN = 8
"""How many of the newest revocations the first page has."""
DRAWN = 30
"""How many days the plot of revocations has."""


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the page."""

    @console.get("/")
    async def overview(request: Request) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "overview.html", lambda: facts(desk, visitor))


def facts(desk: Desk, visitor: Visitor) -> Facts:
    """What the first page shows."""
    now = visitor.now
    with desk.authority.store.read() as ledger:
        told: dict[str, Any] = {
            "counts": questions.counts(ledger),
            "newest": questions.newest_revocations(ledger, SHOWN),
            "ending": desk.authority.endings(ledger, now),
            "per_day": revocations_per_day(ledger, now),
        }
    if visitor.offered("host.read"):
        told |= coverage(desk.authority, now)
    return told | _standing(desk, now)


def revocations_per_day(ledger: Ledger, now: datetime) -> plots.Bars:
    """The plot of revocations over time."""
    days = plots.days(now, DRAWN)
    counted = questions.revoked_by_day(ledger, days[0])
    return plots.bars([(day, counted.get(day, 0)) for day in days], every=5)


def _standing(desk: Desk, now: datetime) -> dict[str, Any]:
    try:
        head, trouble = desk.authority.standing(now).revocations.head, None
    except Refused as refusal:
        head, trouble = None, refusal
    return {"head": head, "trouble": trouble, "warnings": desk.authority.warnings(now)}
