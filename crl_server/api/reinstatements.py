"""``/v1/reinstatements``: asking to take something back, and the second person who agrees."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server.api.bodies import Note, read_json
from crl_server.api.describe import told
from crl_server.api.edge import AfterId, Edge, Limit, NumberPart, answer, key_of, tagged
from crl_server.revocation import reinstating
from crl_server.revocation.reinstating import Requested, Wish
from crl_server.storage.ledger import MAX_ID
from crl_server.storage.store import Store
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest


class WishBody(Document, frozen=True, kw_only=True):
    """What ``POST /v1/reinstatements`` takes."""

    digest: Digest | None = None
    rule: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None
    note: Note


class ReinstatementRow(Document, frozen=True, kw_only=True):
    """A request to take something back; ``epoch`` is the checkpoint that carried it out."""

    id: int
    digest: str | None
    rule: str | None
    note: str
    at: str
    by: str
    approved_at: str | None
    approved_by: str | None
    epoch: int | None


class ReinstatementPage(Document, frozen=True, kw_only=True):
    """Requests, the oldest first; ``next`` is what to pass as ``after`` for more, null at the end."""

    reinstatements: tuple[ReinstatementRow, ...]
    next: int | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/reinstatements")
    @told(
        "Ask to take back an artifact, a rule, or an artifact from one rule.", "reinstatement.request",
        body=WishBody, answer=Requested, status=201, codes=("reinstatement.unknown", "list.full"),
    )  # fmt: skip
    async def reinstate(request: Request) -> Response:
        identity, now = await edge.admit(request, "reinstatement.request")
        body = await read_json(request, WishBody)
        wish = Wish(body.digest, body.rule, body.note)
        ask = edge.authority.request_reinstatement
        return answer(await run_in_threadpool(ask, wish, identity.actor, now, key_of(request)), 201)

    @app.post("/v1/reinstatements/{number}/approval")
    @told(
        "Agree to somebody else's request; a checkpoint then carries it out.", "reinstatement.approve",
        answer=Requested, codes=("reinstatement.unknown", "reinstatement.own"),
    )  # fmt: skip
    async def approve_reinstatement(request: Request, number: NumberPart) -> Response:
        identity, now = await edge.admit(request, "reinstatement.approve")
        agree = edge.authority.approve_reinstatement
        return answer(await run_in_threadpool(agree, number, identity.actor, now, key_of(request)))

    @app.get("/v1/reinstatements")
    @told(
        "Requests to take something back, the oldest first.", "revocation.read", answer=ReinstatementPage, tagged=True
    )
    async def all_reinstatements(request: Request, after: AfterId = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return tagged(request, await run_in_threadpool(reinstatements, edge.authority.store, after, limit))


def reinstatements(store: Store, after: int, limit: int) -> ReinstatementPage:
    """A page of requests to take something back, the oldest first."""
    with store.read() as ledger:
        rows = reinstating.requests(ledger, after, limit)
    page = tuple(
        ReinstatementRow(
            id=row.id or 0,
            digest=row.digest,
            rule=None if row.rule is None else f"R{row.rule}",
            note=row.note,
            at=row.at,
            by=row.by,
            approved_at=row.approved_at,
            approved_by=row.approved_by,
            epoch=row.epoch,
        )
        for row in rows
    )
    return ReinstatementPage(reinstatements=page, next=page[-1].id if len(rows) == limit else None)
