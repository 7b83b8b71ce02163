"""``/v1/rules``: standing rules, and which are in force."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server import standing
from crl_server.api.bodies import read_json
from crl_server.api.edge import Edge, answer, key_of
from crl_server.revoking import MAX_NOTE
from crl_server.standing import MAX_EXCEPTED, NewRule
from crl_server.store import Store
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest


class RuleBody(Document, frozen=True, kw_only=True, rename={"excepted": "except"}):
    """What ``POST /v1/rules`` takes."""

    kind: Annotated[str, Meta(max_length=50)]
    match: dict[str, Any]
    reason: Annotated[str, Meta(max_length=50)]
    note: Annotated[str, Meta(max_length=MAX_NOTE)] = ""
    excepted: Annotated[tuple[Digest, ...], Meta(max_length=MAX_EXCEPTED)] = ()
    dry_run: bool = False


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/rules")
    async def add_rule(request: Request) -> Response:
        identity, now = await edge.admit(request, "rule.add")
        body = await read_json(request, RuleBody)
        wanted = NewRule(body.kind, body.match, body.reason, body.note, body.excepted)
        if body.dry_run:
            return answer(await run_in_threadpool(edge.authority.radius, wanted, now))
        done = await run_in_threadpool(edge.authority.add_rule, wanted, identity.actor, now, key_of(request))
        return answer(done, 201)

    @app.get("/v1/rules")
    async def all_rules(request: Request) -> Response:
        await edge.admit(request, "revocation.read")
        return answer(await run_in_threadpool(rules, edge.authority.store))


def rules(store: Store) -> dict[str, Any]:
    """The standing rules in force."""
    with store.read() as ledger:
        return {"rules": standing.in_force(ledger).rules}
