"""``/v1/revocations``: putting artifacts on the list, and what has been put there."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server.api.bodies import read_json
from crl_server.api.edge import AfterId, Edge, Limit, answer, key_of
from crl_server.revoking import MAX_DIGESTS, MAX_NOTE, Order
from crl_server.store import Store
from crl_server.tables import Revocation
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest


class RevocationBody(Document, frozen=True, kw_only=True):
    """What ``POST /v1/revocations`` takes."""

    digests: Annotated[tuple[Digest, ...], Meta(max_length=MAX_DIGESTS)]
    reason: Annotated[str, Meta(max_length=50)]
    note: Annotated[str, Meta(max_length=MAX_NOTE)] = ""
    dry_run: bool = False


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/revocations")
    async def revoke(request: Request) -> Response:
        identity, now = await edge.admit(request, "revocation.add")
        body = await read_json(request, RevocationBody)
        order = Order(body.digests, body.reason, body.note)
        if body.dry_run:
            return answer(await run_in_threadpool(edge.authority.radius, order, now))
        done = await run_in_threadpool(edge.authority.revoke, order, identity.actor, now, key_of(request))
        return answer(done, 201)

    @app.get("/v1/revocations")
    async def all_revocations(request: Request, after: AfterId = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return answer(await run_in_threadpool(revocations, edge.authority.store, after, limit))


def revocations(store: Store, after: int, limit: int) -> dict[str, Any]:
    """A page of revocations, the oldest first."""
    with store.read() as ledger:
        rows = ledger.revocations(after, limit)
    page = [{"id": row.id, "digest": row.digest, "seq": seq, **reason_of(row)} for row, seq in rows]
    return {"revocations": page, "next": rows[-1][0].id if len(rows) == limit else None}


def reason_of(row: Revocation) -> dict[str, Any]:
    """A reason for which an artifact is on the list."""
    shown: dict[str, Any] = {"reason": row.reason, "note": row.note, "at": row.at, "by": row.by}
    shown |= {} if row.rule is None else {"rule": f"R{row.rule}"}
    return shown if row.withdrawn is None else shown | {"withdrawn": row.withdrawn}
