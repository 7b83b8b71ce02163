"""The application: its routes, and who may use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api import problems, views
from crl_server.api.bodies import read_order, read_rule, read_upload, read_wish
from crl_server.api.static import StaticTree
from crl_server.ledger import MAX_PAGE
from crl_server.roles import WRITES, Identity, Operation, authorise
from crl_server.service import Authority
from verifier.errors import Refused
from verifier.formats.strict_json import dumps

Clock = Callable[[], datetime]

UPLOADS_AT_ONCE = 2
"""How many uploads are held in memory at a time; the others wait."""
BEARER = "Bearer "

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


def create_app(authority: Authority, clock: Clock) -> FastAPI:
    """The service of one deployment.

    Args:
        authority: does the work.
        clock: tells the time, aware and in UTC; asked once a request.
    """
    app = FastAPI(title="Loadlock", openapi_url=None, docs_url=None, redoc_url=None)
    problems.install(app)
    edge = _Edge(authority, clock)
    _add_health(app, edge)
    _add_registry(app, edge)
    _add_revocations(app, edge)
    _add_rules(app, edge)
    _add_reinstatements(app, edge)
    app.add_api_route("/v1/{rest:path}", edge.nothing, methods=["GET", "HEAD"])
    app.add_api_route("/{path:path}", StaticTree(authority.layout.public), methods=["GET", "HEAD"])
    return app


class _Edge:
    """What every route needs: the authority, the time, and who is asking."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self.authority = authority
        self.clock = clock
        self.uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def admit(self, request: Request, operation: Operation) -> tuple[Identity, datetime]:
        """Who asks and when, once it is known that they may.

        Raises:
            Refused: ``auth.token`` or ``auth.role``; recorded when it was a write.
        """
        now = self.clock()
        return await run_in_threadpool(self._judge, request.headers.get("authorization", ""), operation, now), now

    def _judge(self, header: str, operation: Operation, now: datetime) -> Identity:
        actor = "anonymous"
        try:
            if not header.startswith(BEARER):
                raise Refused("auth.token", "this takes an API token", expected="Authorization: Bearer <token>")
            identity = self.authority.identify(header.removeprefix(BEARER).strip(), now)
            actor = identity.actor
            authorise(identity, operation)
        except Refused as refusal:
            if operation in WRITES:
                self.authority.record_denial(actor, operation, refusal.code, now)
            raise
        return identity

    async def nothing(self) -> Response:
        """Addresses below ``/v1`` that are not there are not files either."""
        raise Refused("request.unknown", "there is nothing at this address")


def _add_health(app: FastAPI, edge: _Edge) -> None:
    @app.get("/healthz")
    async def alive() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz")
    async def ready() -> Response:
        return _json(await run_in_threadpool(views.readiness, edge.authority, edge.clock()))


def _add_registry(app: FastAPI, edge: _Edge) -> None:
    @app.post("/v1/artifacts")
    async def admit(request: Request) -> Response:
        identity, now = await edge.admit(request, "artifact.admit")
        async with edge.uploads:
            upload = await read_upload(request)
            done = await run_in_threadpool(edge.authority.admit, upload, identity, now, _key(request))
        return _json(done, 201, {"Location": f"/v1/artifacts/{done.digest}"})

    @app.get("/v1/artifacts/{digest}")
    async def artifact(request: Request, digest: str) -> Response:
        await edge.admit(request, "artifact.read")
        return _json(await run_in_threadpool(views.artifact, edge.authority.store, digest))

    @app.get("/v1/plugins")
    async def plugins(
        request: Request, after: Annotated[str, Query(max_length=64)] = "", limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "artifact.read")
        return _json(await run_in_threadpool(views.plugins, edge.authority.store, after, limit))

    @app.get("/v1/plugins/{plugin_id}")
    async def plugin(request: Request, plugin_id: str) -> Response:
        await edge.admit(request, "artifact.read")
        return _json(await run_in_threadpool(views.plugin, edge.authority.store, plugin_id))


def _add_revocations(app: FastAPI, edge: _Edge) -> None:
    @app.post("/v1/revocations")
    async def revoke(request: Request) -> Response:
        identity, now = await edge.admit(request, "revocation.add")
        order, dry_run = await read_order(request)
        if dry_run:
            return _json(await run_in_threadpool(edge.authority.radius, order))
        return _json(await run_in_threadpool(edge.authority.revoke, order, identity.actor, now, _key(request)), 201)

    @app.get("/v1/revocations")
    async def revocations(request: Request, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return _json(await run_in_threadpool(views.revocations, edge.authority.store, after, limit))

    @app.get("/v1/audit")
    async def audit_log(request: Request, after: Annotated[int, Query(ge=-1)] = -1, limit: Limit = 100) -> Response:
        await edge.admit(request, "audit.read")
        return _json(await run_in_threadpool(views.audit_log, edge.authority.store, after, limit))


def _add_rules(app: FastAPI, edge: _Edge) -> None:
    @app.post("/v1/rules")
    async def add_rule(request: Request) -> Response:
        identity, now = await edge.admit(request, "rule.add")
        wanted, dry_run = await read_rule(request)
        if dry_run:
            return _json(await run_in_threadpool(edge.authority.radius, wanted))
        return _json(await run_in_threadpool(edge.authority.add_rule, wanted, identity.actor, now, _key(request)), 201)

    @app.get("/v1/rules")
    async def all_rules(request: Request) -> Response:
        await edge.admit(request, "revocation.read")
        return _json(await run_in_threadpool(views.rules, edge.authority.store))


def _add_reinstatements(app: FastAPI, edge: _Edge) -> None:
    @app.post("/v1/reinstatements")
    async def reinstate(request: Request) -> Response:
        identity, now = await edge.admit(request, "reinstatement.request")
        wish = await read_wish(request)
        ask = edge.authority.request_reinstatement
        return _json(await run_in_threadpool(ask, wish, identity.actor, now, _key(request)), 201)

    @app.post("/v1/reinstatements/{number}/approval")
    async def approve(request: Request, number: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
        identity, now = await edge.admit(request, "reinstatement.approve")
        return _json(await run_in_threadpool(edge.authority.approve_reinstatement, number, identity.actor, now))

    @app.get("/v1/reinstatements")
    async def reinstatements(request: Request, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 100) -> Response:
        await edge.admit(request, "revocation.read")
        return _json(await run_in_threadpool(views.reinstatements, edge.authority.store, after, limit))


def _key(request: Request) -> str:
    return request.headers.get("idempotency-key", "")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    common = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(dumps(value), status, common | (headers or {}), "application/json")
