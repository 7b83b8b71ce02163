"""The first page: what is revoked, what expires, what is stale, what waits for somebody."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from crl_server.console import questions
from crl_server.console.desk import Desk, Facts
from crl_server.console.door import Visitor
from crl_server.service import Authority
from verifier.errors import Refused

SHOWN = 8
"""How many of the newest revocations the first page has."""


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the page."""

    @console.get("/")
    async def overview(request: Request) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "overview.html", lambda: facts(desk.authority, visitor))


def facts(authority: Authority, visitor: Visitor) -> Facts:
    """What the first page shows."""
    try:
        current = authority.standing(visitor.now).revocations
        head, trouble = current.head, None
    except Refused as refusal:
        head, trouble = None, refusal
    with authority.store.read() as ledger:
        counts = questions.counts(ledger)
        newest = questions.newest_revocations(ledger, SHOWN)
        open_requests = questions.open_requests(ledger)
    return {
        "head": head,
        "trouble": trouble,
        "warnings": authority.warnings(visitor.now),
        "counts": counts,
        "newest": newest,
        "open_requests": open_requests,
    }
