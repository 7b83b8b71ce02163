"""``/v1/revocations``: putting artifacts on the list, and what has been put there."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server.api.bodies import UNIQUE, Confirm, Note, read_json
from crl_server.api.describe import PUBLISHED, told
from crl_server.api.edge import AfterId, Edge, Limit, answer, key_of, tagged
from crl_server.lists.rules import Reason as Why
from crl_server.lists.rules import Severity
from crl_server.revocation.revoking import MAX_DIGESTS, Order, Revoked
from crl_server.revocation.standing import Radius
from crl_server.storage.store import Store
from crl_server.storage.tables import Revocation
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest


class RevocationBody(Document, frozen=True, kw_only=True):
    """What ``POST /v1/revocations`` takes."""

    digests: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=MAX_DIGESTS, extra_json_schema=UNIQUE)]
    reason: Why
    note: Note = ""
    severity: Severity | None = None
    confirm: Confirm = 0
    dry_run: bool = False


class Reason(Document, frozen=True, kw_only=True):
    """A reason for which an artifact is on the list.

    Attributes:
        rule: the standing rule that it comes from.
        withdrawn: the epoch since which it counts no more.
    """

    reason: str
    note: str
    at: str
    by: str
    rule: str | None = None
    withdrawn: int | None = None
    severity: str | None = None


class Listed(Reason, frozen=True, kw_only=True):
    """One revocation of one artifact, and the event that put the artifact on the list."""

    id: int
    digest: str
    seq: int


class RevocationPage(Document, frozen=True, kw_only=True):
    """Revocations, the oldest first; ``next`` is what to pass as ``after`` for more, null at the end."""

    revocations: tuple[Listed, ...]
    next: int | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/revocations")
    @told(
        "Revoke artifacts, or only ask what that would reach.", "revocation.add",
        body=RevocationBody, answer=Revoked, status=201, dry=Radius, codes=PUBLISHED,
    )  # fmt: skip
    async def revoke(request: Request) -> Response:
        identity, now = await edge.admit(request, "revocation.add")
        body = await read_json(request, RevocationBody)
        order = Order(body.digests, body.reason, body.note, body.severity, body.confirm)
        if body.dry_run:
            return answer(await run_in_threadpool(edge.authority.radius, order, now))
        done = await run_in_threadpool(edge.authority.revoke, order, identity.actor, now, key_of(request))
        return answer(done, 201)

    @app.get("/v1/revocations")
    @told("Revocations, the oldest first.", "revocation.read", answer=RevocationPage, tagged=True)
    async def all_revocations(request: Request, after: AfterId = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return tagged(request, await run_in_threadpool(revocations, edge.authority.store, after, limit))


def revocations(store: Store, after: int, limit: int) -> RevocationPage:
    """A page of revocations, the oldest first."""
    with store.read() as ledger:
        rows = ledger.revocations(after, limit)
    page = tuple(Listed(id=row.id or 0, digest=row.digest, seq=seq, **_fields(row)) for row, seq in rows)
    return RevocationPage(revocations=page, next=page[-1].id if len(rows) == limit else None)


def reason_of(row: Revocation) -> Reason:
    """A reason for which an artifact is on the list."""
    return Reason(**_fields(row))


def _fields(row: Revocation) -> dict[str, Any]:
    rule = None if row.rule is None else f"R{row.rule}"
    return {
        "reason": row.reason,
        "note": row.note,
        "at": row.at,
        "by": row.by,
        "rule": rule,
        "withdrawn": row.withdrawn,
        "severity": row.severity,
    }
