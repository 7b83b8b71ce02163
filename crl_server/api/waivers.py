"""``/v1/waivers``: asking to let an artifact pass although something has ended, and the second person who agrees."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server.api.bodies import read_json
from crl_server.api.describe import told
from crl_server.api.edge import AfterId, Edge, Limit, NumberPart, answer, key_of, tagged
from crl_server.revocation import waiving
from crl_server.revocation.reinstating import Requested
from crl_server.revocation.waiving import MAX_REASON, Plea
from crl_server.service import Authority
from crl_server.storage.idempotency import Asked, check_key, fingerprint, once
from crl_server.storage.store import Store
from verifier.formats.policy_terms import Lifted
from verifier.formats.strict_json import Document
from verifier.formats.text import PLAIN, Digest, Time


class PleaBody(Document, frozen=True, kw_only=True):
    """What ``POST /v1/waivers`` takes."""

    artifact: Digest
    lifts: Lifted
    until: Time
    reason: Annotated[str, Meta(min_length=1, max_length=MAX_REASON, pattern=PLAIN)]


class WaiverShown(Document, frozen=True, kw_only=True):
    """A waiver that was asked for; it lifts nothing before it is approved, and a policy that holds it signed."""

    id: int
    artifact: str
    lifts: str
    until: str
    reason: str
    at: str
    by: str
    approved_at: str | None
    approved_by: str | None
    ended_at: str | None
    ended_by: str | None


class WaiverPage(Document, frozen=True, kw_only=True):
    """Waivers, the oldest first; ``next`` is what to pass as ``after`` for more, null at the end."""

    waivers: tuple[WaiverShown, ...]
    next: int | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/waivers")
    @told(
        "Ask to let an artifact pass although something of it has ended.", "waiver.request",
        body=PleaBody, answer=Requested, status=201, codes=("list.full",),
    )  # fmt: skip
    async def plead(request: Request) -> Response:
        identity, now = await edge.admit(request, "waiver.request")
        body = await read_json(request, PleaBody)
        plea = Plea(body.artifact, body.lifts, body.until, body.reason)
        asked = run_in_threadpool(ask, edge.authority, plea, identity.actor, now, key_of(request))
        return answer(await asked, 201)

    @app.post("/v1/waivers/{number}/approval")
    @told(
        "Agree to a waiver that somebody else asked for; a signed policy then carries it out.", "waiver.approve",
        answer=Requested, codes=("waiver.unknown", "waiver.own", "waiver.ended"),
    )  # fmt: skip
    async def approve_waiver(request: Request, number: NumberPart) -> Response:
        identity, now = await edge.admit(request, "waiver.approve")
        agreed = run_in_threadpool(agree, edge.authority.store, number, identity.actor, now, key_of(request))
        return answer(await agreed)

    @app.post("/v1/waivers/{number}/end")
    @told(
        "End a waiver before its time; hosts follow the policy that is signed next.", "waiver.end",
        answer=Requested, codes=("waiver.unknown",),
    )  # fmt: skip
    async def end_waiver(request: Request, number: NumberPart) -> Response:
        identity, now = await edge.admit(request, "waiver.end")
        ended = run_in_threadpool(end, edge.authority.store, number, identity.actor, now, key_of(request))
        return answer(await ended)

    @app.get("/v1/waivers")
    @told("Waivers that were asked for, with their approvals.", "revocation.read", answer=WaiverPage, tagged=True)
    async def all_waivers(request: Request, after: AfterId = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return tagged(request, await run_in_threadpool(waivers, edge.authority.store, after, limit))


def ask(authority: Authority, plea: Plea, actor: str, now: datetime, key: str = "") -> Requested:
    """Record a plea; raises as :func:`crl_server.revocation.waiving.ask`, and as
    :func:`crl_server.storage.idempotency.answered`.
    """
    check_key(key)
    with authority.store.write() as ledger:
        asked = Asked(actor, key, plea.fingerprint)
        return once(ledger, asked, Requested, lambda: waiving.ask(ledger, plea, actor, now), now)


def agree(store: Store, number: int, actor: str, now: datetime, key: str = "") -> Requested:
    """Agree to a plea; raises as :func:`crl_server.revocation.waiving.approve`, and as
    :func:`crl_server.storage.idempotency.answered`.
    """
    check_key(key)
    with store.write() as ledger:
        asked = Asked(actor, key, fingerprint(b"approve a waiver", str(number).encode()))
        return once(ledger, asked, Requested, lambda: waiving.approve(ledger, number, actor, now), now)


def end(store: Store, number: int, actor: str, now: datetime, key: str = "") -> Requested:
    """End a waiver; raises as :func:`crl_server.revocation.waiving.end`, and as
    :func:`crl_server.storage.idempotency.answered`.
    """
    check_key(key)
    with store.write() as ledger:
        asked = Asked(actor, key, fingerprint(b"end a waiver", str(number).encode()))
        return once(ledger, asked, Requested, lambda: waiving.end(ledger, number, actor, now), now)


def waivers(store: Store, after: int, limit: int) -> WaiverPage:
    """A page of waivers."""
    with store.read() as ledger:
        rows = waiving.page(ledger, after, limit)
    page = tuple(
        WaiverShown(
            id=row.id or 0, artifact=row.artifact, lifts=row.lifts, until=row.until, reason=row.reason, at=row.at,
            by=row.by, approved_at=row.approved_at, approved_by=row.approved_by, ended_at=row.ended_at,
            ended_by=row.ended_by,
        )
        for row in rows
    )  # fmt: skip
    return WaiverPage(waivers=page, next=page[-1].id if len(page) == limit else None)
