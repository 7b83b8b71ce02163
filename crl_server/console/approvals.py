"""Approvals: who asked to take back what; the second person; what still awaits its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.console import questions
from crl_server.console.desk import Desk, Facts, page_of
from crl_server.console.forms import Form
from crl_server.revocation.reinstating import Wish
from crl_server.storage.ledger import MAX_ID
from crl_server.storage.tables import Reinstatement
from verifier.errors import UsageError
from verifier.formats.text import Digest, Time

SHOWN = 50
Seen = Annotated[int, Query(ge=0, le=MAX_ID)]
"""The id of the last row that was seen."""
Number = Annotated[int, Path(ge=1, le=MAX_ID)]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/approvals")
    async def approvals(request: Request, before: Seen = 0, awaiting: Seen = 0, approved: Seen = 0) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "approvals.html", lambda: _facts(desk, before, awaiting, approved, visitor.now))

    @console.post("/approvals")
    async def ask(request: Request) -> Response:
        visitor, form = await desk.writer(request, "reinstatement.request")
        wish, key = wish_in(form), form.text("idempotency")
        asking = desk.authority.request_reinstatement
        await run_in_threadpool(asking, wish, visitor.identity.actor, visitor.now, key)
        return desk.away("/approvals")

    @console.post("/approvals/{number}")
    async def approve(request: Request, number: Number) -> Response:
        visitor, _ = await desk.writer(request, "reinstatement.approve")
        approving = desk.authority.approve_reinstatement
        await run_in_threadpool(approving, number, visitor.identity.actor, visitor.now)
        return desk.away("/approvals")


def wish_in(form: Form) -> Wish:
    """What a form asks to take back.

    Raises:
        UsageError: ``usage.arguments``.
    """
    digest, rule = form.text("digest"), form.text("rule").removeprefix("R")
    if rule and not (rule.isascii() and rule.isdecimal() and len(rule) <= 12):
        raise UsageError("usage.arguments", "this is no rule", found=f"{rule!a:.80}", expected="R and a number")
    try:
        return Wish(Digest(digest) if digest else None, int(rule) if rule else None, form.text("note"))
    except ValueError as error:
        raise UsageError("usage.arguments", "this is no digest", found=str(error)[:200]) from None


def _facts(desk: Desk, before: int, awaiting: int, approved: int, now: datetime) -> Facts:
    with desk.authority.store.read() as ledger:
        waiting = questions.open_requests(ledger, awaiting, SHOWN + 1, approved=False)
        agreed = questions.open_requests(ledger, approved, SHOWN + 1, approved=True)
        past = questions.past_requests(ledger, before, SHOWN + 1)
        pleas = questions.open_waivers(ledger, Time.of(now))
    return {
        **_page("awaiting", waiting),
        **_page("approved", agreed),
        **_page("past", past),
        "waivers": [row for row in pleas if row.approved_by is None],
    }


def _page(name: str, rows: Sequence[Reinstatement]) -> Facts:
    shown, last = page_of(rows, SHOWN)
    return {name: shown, f"more_{name}": None if last is None else last.id}
