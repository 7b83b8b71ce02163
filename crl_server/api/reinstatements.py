"""``/v1/reinstatements``: asking to take something back, and the second person who agrees."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server import reinstating
from crl_server.api.bodies import read_json
from crl_server.api.edge import AfterId, Edge, Limit, answer, key_of
from crl_server.reinstating import Wish
from crl_server.revoking import MAX_NOTE
from crl_server.store import Store
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest


class WishBody(Document, frozen=True, kw_only=True):
    """What ``POST /v1/reinstatements`` takes."""

    digest: Digest | None = None
    rule: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    note: Annotated[str, Meta(max_length=MAX_NOTE)]


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/reinstatements")
    async def reinstate(request: Request) -> Response:
        identity, now = await edge.admit(request, "reinstatement.request")
        body = await read_json(request, WishBody)
        wish = Wish(body.digest, body.rule, body.note)
        ask = edge.authority.request_reinstatement
        return answer(await run_in_threadpool(ask, wish, identity.actor, now, key_of(request)), 201)

    @app.post("/v1/reinstatements/{number}/approval")
    async def approve(request: Request, number: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
        identity, now = await edge.admit(request, "reinstatement.approve")
        return answer(await run_in_threadpool(edge.authority.approve_reinstatement, number, identity.actor, now))

    @app.get("/v1/reinstatements")
    async def all_reinstatements(request: Request, after: AfterId = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return answer(await run_in_threadpool(reinstatements, edge.authority.store, after, limit))


def reinstatements(store: Store, after: int, limit: int) -> dict[str, Any]:
    """A page of requests to take something back, the oldest first."""
    with store.read() as ledger:
        rows = reinstating.requests(ledger, after, limit)
    page = [
        {
            "id": row.id,
            "digest": row.digest,
            "rule": None if row.rule is None else f"R{row.rule}",
            "note": row.note,
            "at": row.at,
            "by": row.by,
            "approved_at": row.approved_at,
            "approved_by": row.approved_by,
            "epoch": row.epoch,
        }
        for row in rows
    ]
    return {"reinstatements": page, "next": rows[-1].id if len(rows) == limit else None}
