"""``/healthz`` and ``/readyz``: for who watches over the service; they take no token."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import FastAPI, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api.describe import told
from crl_server.api.edge import Edge, answer
from crl_server.operating.readiness import check_ready
from crl_server.service import Authority
from verifier.formats.strict_json import Document
from verifier.formats.text import Time


class Alive(Document, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"]


class Ready(Document, frozen=True, kw_only=True):
    """A valid list is served: its number, its end, and what only people can renew."""

    status: Literal["ready"]
    seq: int
    expires: Time
    warnings: tuple[str, ...]


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.get("/healthz")
    @told("Whether the process answers.", None, answer=Alive)
    async def alive() -> Response:
        return answer(Alive(status="ok"))

    @app.get("/readyz")
    @told("Whether a valid list is served, and what will expire.", None, answer=Ready, codes=("server.*", "trust.*"))
    async def ready() -> Response:
        return answer(await run_in_threadpool(readiness, edge.authority, edge.clock()))


def readiness(authority: Authority, now: datetime) -> Ready:
    """Whether the service can do its work: a list that is in force and could be added to.

    Raises:
        Refused: ``server.not-ready``, ``trust.*``.
    """
    head = check_ready(authority, now).revocations.head
    return Ready(status="ready", seq=head.seq, expires=head.expires, warnings=authority.warnings(now))
