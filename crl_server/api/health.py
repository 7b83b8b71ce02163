"""``/healthz`` and ``/readyz``: for who watches over the service; they take no token."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api.edge import Edge, answer
from crl_server.service import Authority


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.get("/healthz")
    async def alive() -> Response:
        return answer({"status": "ok"})

    @app.get("/readyz")
    async def ready() -> Response:
        return answer(await run_in_threadpool(readiness, edge.authority, edge.clock()))


def readiness(authority: Authority, now: datetime) -> dict[str, Any]:
    """Whether a valid list is being served.

    Raises:
        Refused: ``server.not-ready``, ``trust.*``.
    """
    head = authority.standing(now).revocations.head
    return {"status": "ready", "seq": head.seq, "expires": head.expires, "warnings": authority.warnings(now)}
