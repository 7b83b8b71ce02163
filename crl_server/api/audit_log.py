"""``/v1/audit``: the audit log, entry by entry, to be verified by whoever reads it."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api.describe import told
from crl_server.api.edge import Edge, Limit, tagged
from crl_server.records import siem
from crl_server.service import Authority
from crl_server.storage.ledger import MAX_ID
from crl_server.storage.store import Store
from verifier.formats.revocations import AuditHead, sha256_hex
from verifier.formats.strict_json import Document
from verifier.formats.text import Hex

LINES = "application/x-ndjson"
ExportForm = Annotated[siem.Form, Query(alias="format")]
AfterIndex = Annotated[int, Query(ge=-1, le=MAX_ID)]


class Line(Document, frozen=True, kw_only=True):
    """An entry: its exact text, whose sha256 the next entry names."""

    line: str
    sha256: Hex


class AuditPage(Document, frozen=True, kw_only=True):
    """Entries in order, what to pass as ``after`` for more (null at the end), and the state of the whole log."""

    entries: tuple[Line, ...]
    next: int | None
    state: AuditHead


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.get("/v1/audit")
    @told("The audit log, in order.", "audit.read", answer=AuditPage, tagged=True)
    async def entries(request: Request, after: AfterIndex = -1, limit: Limit = 100) -> Response:
        await edge.admit(request, "audit.read")
        return tagged(request, await run_in_threadpool(audit_log, edge.authority.store, after, limit))

    @app.get("/v1/audit/export")
    @told("The audit log for other systems, one entry a line.", "audit.read", media=LINES, tagged=True)
    async def exported(
        request: Request, form: ExportForm = "ocsf", after: AfterIndex = -1, limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "audit.read")
        data, count = await run_in_threadpool(export, edge.authority, form, after, limit)
        response = tagged(request, data, LINES)
        if count == limit:
            query = f"format={form}&after={after + count}&limit={limit}"
            response.headers["Link"] = f'</v1/audit/export?{query}>; rel="next"'
        return response


def export(authority: Authority, form: siem.Form, after: int, limit: int) -> tuple[bytes, int]:
    """A page of the audit log in one of the forms, one entry a line, and how many there are on it."""
    write, source = siem.WRITERS[form], str(authority.record.server)
    with authority.store.read() as ledger:
        lines = [write(line, source) for line in ledger.audit_lines(after, limit)]
    return b"".join(line + b"\n" for line in lines), len(lines)


def audit_log(store: Store, after: int, limit: int) -> AuditPage:
    """A page of the audit log."""
    with store.read() as ledger:
        lines = list(ledger.audit_lines(after, limit))
        state = ledger.audit_state()
    page = tuple(Line(line=line.decode("utf-8", "replace"), sha256=sha256_hex(line)) for line in lines)
    return AuditPage(entries=page, next=after + limit if len(lines) == limit else None, state=state)
