"""Waivers: asking to let an artifact pass, the second person, an early end, and what the signed policy has of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api import waivers
from crl_server.api.problems import status_of
from crl_server.console import questions
from crl_server.console.desk import Desk, Facts, page_of
from crl_server.console.door import Visitor
from crl_server.console.forms import Form
from crl_server.revocation.waiving import MAX_REASON, Plea
from crl_server.storage.ledger import MAX_ID
from crl_server.storage.tables import WaiverRow
from verifier.errors import LoadlockError, UsageError
from verifier.formats.policy import LONGEST_WAIVER, Policy
from verifier.formats.policy_terms import Lifted
from verifier.formats.text import Digest, Time

SHOWN = 50
MAX_HOURS = LONGEST_WAIVER // timedelta(hours=1)
LIFTS: dict[Lifted, str] = {
    "certification-expiry": "its certification has expired",
    "stale-list": "the revocation list has expired, and so has the tier's grace",
}
FIELDS = ("artifact", "lifts", "hours", "reason")
Number = Annotated[int, Path(ge=1, le=MAX_ID)]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/waivers")
    async def page(
        request: Request,
        artifact: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    ) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        given = {"artifact": artifact}
        return await desk.show(visitor, "waivers.html", lambda: _facts(desk, visitor.now, given, before))

    @console.post("/waivers")
    async def ask(request: Request) -> Response:
        visitor, form = await desk.writer(request, "waiver.request")
        return await run_in_threadpool(_ask, desk, visitor, form)

    @console.post("/waivers/{number}/approval")
    async def agree(request: Request, number: Number) -> Response:
        visitor, _ = await desk.writer(request, "waiver.approve")
        return await _step(desk, visitor, waivers.agree, number)

    @console.post("/waivers/{number}/end")
    async def end(request: Request, number: Number) -> Response:
        visitor, _ = await desk.writer(request, "waiver.end")
        return await _step(desk, visitor, waivers.end, number)


async def _step(desk: Desk, visitor: Visitor, take: Callable[..., object], number: int) -> Response:
    await run_in_threadpool(take, desk.authority.store, number, visitor.identity.actor, visitor.now)
    return desk.away("/waivers")


def _ask(desk: Desk, visitor: Visitor, form: Form) -> Response:
    key = form.text("idempotency")
    try:
        if not key:
            raise UsageError("request.invalid", "the form lacks a field", expected="idempotency")
        waivers.ask(desk.authority, plea_in(form, visitor.now), visitor.identity.actor, visitor.now, key)
    except LoadlockError as error:
        given = {name: form.text(name) for name in FIELDS}
        return desk.page(visitor, "waivers.html", _facts(desk, visitor.now, given, 0, error), status_of(error.code))
    return desk.away("/waivers")


def plea_in(form: Form, now: datetime) -> Plea:
    """What a form asks to let pass.

    Raises:
        UsageError: ``usage.arguments``.
    """
    try:
        artifact = Digest(form.text("artifact"))
    except ValueError as error:
        raise UsageError("usage.arguments", "this is no digest", found=str(error)[:200]) from None
    lifts = next((known for known in LIFTS if known == form.text("lifts")), None)
    if lifts is None:
        raise UsageError("usage.arguments", "what has ended was not chosen", expected=", ".join(LIFTS))
    hours = form.text("hours")
    if not (hours.isascii() and hours.isdecimal() and len(hours) <= 3 and 1 <= int(hours) <= MAX_HOURS):
        raise UsageError(
            "usage.arguments", "the hours of a waiver", found=f"{hours!a:.80}", expected=f"1 to {MAX_HOURS}"
        )
    # In whole minutes: the same form sent twice is the same plea, and later its key refuses it.
    until = now.replace(second=0, microsecond=0) + timedelta(hours=int(hours))
    return Plea(artifact, lifts, Time.of(until), form.text("reason"))


def _facts(desk: Desk, now: datetime, given: dict[str, str], before: int, error: LoadlockError | None = None) -> Facts:
    with desk.authority.store.read() as ledger:
        waiting = questions.open_waivers(ledger, Time.of(now))
        past, last = page_of(questions.past_waivers(ledger, Time.of(now), before, SHOWN + 1), SHOWN)
    policy = desk.authority.repository.trust().policy
    return {
        "awaiting": [row for row in waiting if row.approved_by is None],
        "approved": [_approved(row, policy) for row in waiting if row.approved_by is not None],
        "past": [_approved(row, policy) for row in past],
        "version": policy.version,
        "more": None if last is None else last.id,
        "lifts": LIFTS,
        "given": dict.fromkeys(FIELDS, "") | given,
        "max_hours": MAX_HOURS,
        "max_reason": MAX_REASON,
        "key": secrets.token_urlsafe(24),
        "error": error,
    }


def _approved(row: WaiverRow, policy: Policy) -> dict[str, Any]:
    """A waiver, and whether hosts that have the newest policy go by it."""
    return {"row": row, "signed": any(waiver.id == row.id for waiver in policy.waivers)}
