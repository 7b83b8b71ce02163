"""``/v1/audit``: the audit log, entry by entry, to be verified by whoever reads it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api.edge import Edge, Limit, answer
from crl_server.store import Store
from verifier.formats.revocations import sha256_hex


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.get("/v1/audit")
    async def entries(
        request: Request, after: Annotated[int, Query(ge=-1, le=2**53 - 1)] = -1, limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "audit.read")
        return answer(await run_in_threadpool(audit_log, edge.authority.store, after, limit))


def audit_log(store: Store, after: int, limit: int) -> dict[str, Any]:
    """A page of the audit log: each entry's exact text and its hash, and the state of the whole log."""
    with store.read() as ledger:
        lines = list(ledger.audit_lines(after, limit))
        state = ledger.audit_state()
    page = [{"line": line.decode("utf-8", "replace"), "sha256": sha256_hex(line)} for line in lines]
    return {"entries": page, "next": after + limit if len(lines) == limit else None, "state": state}
