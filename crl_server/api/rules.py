"""``/v1/rules``: standing rules, and which are in force."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server.api.bodies import Confirm, Note, read_json
from crl_server.api.describe import PUBLISHED, told
from crl_server.api.edge import AfterId, Edge, Limit, answer, key_of, tagged
from crl_server.lists.rules import Reason, Severity
from crl_server.revocation import standing
from crl_server.revocation.standing import MAX_EXCEPTED, NewRule, Radius, RuleAdded
from crl_server.storage.store import Store
from verifier.formats.revocations import Rule, number_of
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest

RuleKind = Literal["signer", "builder", "source", "plugin", "component", "statement"]


class RuleBody(Document, frozen=True, kw_only=True, rename={"excepted": "except"}):
    """What ``POST /v1/rules`` takes."""

    kind: RuleKind
    match: dict[str, Any]
    reason: Reason
    note: Note = ""
    excepted: Annotated[tuple[Digest, ...], Meta(max_length=MAX_EXCEPTED)] = ()
    severity: Severity | None = None
    confirm: Confirm = 0
    dry_run: bool = False


class RulePage(Document, frozen=True, kw_only=True):
    """Standing rules in force by ascending number; ``next`` is what to pass as ``after`` for more, null at the end."""

    rules: tuple[Rule, ...]
    next: int | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/rules")
    @told(
        "Put a standing rule in force, or only ask what that would reach.", "rule.add",
        body=RuleBody, answer=RuleAdded, status=201, dry=Radius, codes=PUBLISHED,
    )  # fmt: skip
    async def add_rule(request: Request) -> Response:
        identity, now = await edge.admit(request, "rule.add")
        body = await read_json(request, RuleBody)
        wanted = NewRule(
            body.kind, body.match, body.reason, body.note, body.excepted, body.severity, body.confirm
        )  # fmt: skip
        if body.dry_run:
            return answer(await run_in_threadpool(edge.authority.radius, wanted, now))
        done = await run_in_threadpool(edge.authority.add_rule, wanted, identity.actor, now, key_of(request))
        return answer(done, 201)

    @app.get("/v1/rules")
    @told("The standing rules in force.", "revocation.read", answer=RulePage, tagged=True)
    async def all_rules(request: Request, after: AfterId = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return tagged(request, await run_in_threadpool(rules, edge.authority.store, after, limit))


def rules(store: Store, after: int, limit: int) -> RulePage:
    """A page of the standing rules in force."""
    with store.read() as ledger:
        in_force = standing.in_force(ledger).rules
    page = tuple(rule for rule in in_force if number_of(rule.id) > after)[:limit]
    return RulePage(rules=page, next=number_of(page[-1].id) if len(page) == limit else None)
