"""What every route needs: the authority, the time, who is asking, and the form of an answer.

A subject of the API is one module with its bodies, its answers and ``add_routes(app, edge)``; :mod:`crl_server.api.app`
joins them, in the order in which addresses are matched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.ledger import MAX_PAGE
from crl_server.roles import WRITES, Identity, Operation, authorise
from crl_server.service import Authority
from verifier.errors import Refused, UsageError
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, PluginId

Clock = Callable[[], datetime]

UPLOADS_AT_ONCE = 2
"""How many uploads are held in memory at a time; the others wait."""
BEARER = "Bearer "

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
"""How many rows of a page are asked for."""
AfterId = Annotated[int, Query(ge=0, le=2**53 - 1)]
"""The id of the last row that was seen."""


class Edge:
    """The service as its routes see it.

    Args:
        authority: does the work.
        clock: tells the time, aware and in UTC; asked once a request.

    Attributes:
        uploads: holds back uploads when too many are in memory.
    """

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


async def nothing() -> Response:
    """Addresses below ``/v1`` that are not there are not files either."""
    raise Refused("request.unknown", "there is nothing at this address")


def key_of(request: Request) -> str:
    """The idempotency key that came with a request; empty for none."""
    return request.headers.get("idempotency-key", "")


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON, which nobody on the way keeps."""
    common = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(dumps(value), status, common | (headers or {}), "application/json")


def parsed(kind: type[Digest] | type[PluginId], value: str) -> Any:
    """A part of an address in its type.

    Raises:
        UsageError: ``request.invalid``.
    """
    try:
        return kind(value)
    except ValueError as error:
        raise UsageError("request.invalid", "the address is malformed", found=str(error)) from None
