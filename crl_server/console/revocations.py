"""The list for people: every revocation, and the standing rules."""

from __future__ import annotations

import json
import secrets
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from crl_server.console import questions
from crl_server.console.desk import Desk, Facts
from crl_server.lists import rules
from crl_server.storage.ledger import MAX_ID

SHOWN = 50

Word = Annotated[str, Query(max_length=200)]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/revocations")
    async def revocations(
        request: Request, before: Annotated[int, Query(ge=0, le=MAX_ID)] = 0, reason: Word = "", by: Word = ""
    ) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "revocations.html", lambda: _revocations(desk, before, reason, by.strip()))

    @console.get("/rules")
    async def standing_rules(request: Request) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "rules.html", lambda: _rules(desk))


def _revocations(desk: Desk, before: int, reason: str, by: str) -> Facts:
    with desk.authority.store.read() as ledger:
        rows = questions.newest_revocations(ledger, SHOWN, before or None, reason, by)
    return {
        "rows": rows,
        "reasons": rules.REASONS,
        "reason": reason,
        "by": by,
        "more": rows[-1].revocation.id if len(rows) == SHOWN else None,
    }


def _rules(desk: Desk) -> Facts:
    with desk.authority.store.read() as ledger:
        found = questions.rules(ledger)
        excepted = questions.exceptions(ledger)
    shown = [
        {"row": row, "match": json.loads(row.match), "reaches": count, "excepted": excepted.get(row.number, 0)}
        for row, count in found
    ]
    return {"rules": shown, "key": secrets.token_urlsafe(24)}
