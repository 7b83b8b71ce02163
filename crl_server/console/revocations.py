"""The list for people: every revocation, and the standing rules."""

from __future__ import annotations

import json
import secrets
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from crl_server.console import questions
from crl_server.console.desk import Desk, Facts, page_of
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
    async def standing_rules(request: Request, before: Annotated[int, Query(ge=0, le=MAX_ID)] = 0) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "rules.html", lambda: _rules(desk, before))


def _revocations(desk: Desk, before: int, reason: str, by: str) -> Facts:
    with desk.authority.store.read() as ledger:
        found = questions.newest_revocations(ledger, SHOWN + 1, before or None, reason, by)
    rows, last = page_of(found, SHOWN)
    return {
        "rows": rows,
        "reasons": rules.REASONS,
        "reason": reason,
        "by": by,
        "more": None if last is None else last.revocation.id,
    }


def _rules(desk: Desk, before: int) -> Facts:
    with desk.authority.store.read() as ledger:
        rows, last = page_of(questions.rules(ledger, before, SHOWN + 1), SHOWN)
        numbers = [row.number for row in rows]
        reaches, excepted = questions.reached(ledger, numbers), questions.exceptions(ledger, numbers)
    shown = [
        {
            "row": row, "match": json.loads(row.match), "reaches": reaches.get(row.number, 0),
            "excepted": excepted.get(row.number, 0),
        }
        for row in rows
    ]  # fmt: skip
    return {"rules": shown, "key": secrets.token_urlsafe(24), "more": None if last is None else last.number}
