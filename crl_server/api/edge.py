"""What every route needs: the authority, the time, who is asking, and the form of an answer.

A subject of the API is one module with its bodies, its answers and ``add_routes(app, edge)``; :mod:`crl_server.api.app`
joins them, in the order in which addresses are matched.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.access.roles import WRITES, Identity, Operation, authorise
from crl_server.access.tokens import PREFIX
from crl_server.api import refusals
from crl_server.api.limits import Turns, Writes
from crl_server.lists.public_files import tags_of
from crl_server.operating.instruments import Instruments
from crl_server.records.denials import STRANGER
from crl_server.service import Authority
from crl_server.storage.idempotency import check_key
from crl_server.storage.ledger import MAX_ID, MAX_PAGE
from verifier.errors import Refused, UsageError
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest

Clock = Callable[[], datetime]
P = ParamSpec("P")
T = TypeVar("T")

UPLOADS_AT_ONCE = 2
"""How many uploads are held in memory at a time; the others wait."""
UPLOADS_EACH = 4
"""How many uploads an identity may have under way at a time."""
ISSUERS_AT_ONCE = 8
"""How many threads may wait for issuers at a time. Whoever has a token of this service waits for none of them."""
BEARER = "Bearer "
JSON = "application/json"
PRIVATE = "private, no-cache"
"""How an answer with an ETag may be kept: by its asker, who asks each time whether it still stands."""

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
"""How many rows of a page are asked for."""
AfterId = Annotated[int, Query(ge=0, le=MAX_ID)]
"""The id of the last row that was seen."""
NumberPart = Annotated[int, Path(ge=1, le=MAX_ID)]
DigestPart = Annotated[str, Path(pattern=f"^{Digest.grammar}$")]
PluginPart = Annotated[str, Path(max_length=64, pattern="^[a-z0-9](?:_?[a-z0-9])*$")]
"""Parts of an address."""
AfterDigest = Annotated[str | None, Query(pattern=f"^{Digest.grammar}$")]
"""The digest of the last row that was seen."""


class Edge:
    """The service as its routes see it.

    Args:
        authority: does the work.
        clock: tells the time, aware and in UTC; asked once a request.
        writes: grants writes, to each identity by itself.
        instruments: what is measured.

    Attributes:
        uploads: holds back uploads when too many are in memory.
        receiving: refuses uploads of who has too many under way.
    """

    def __init__(self, authority: Authority, clock: Clock, writes: Writes, instruments: Instruments) -> None:
        self.authority = authority
        self.writes = writes
        self.clock = clock
        self.instruments = instruments
        self.uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self.receiving = Turns(UPLOADS_EACH)
        self._asking = asyncio.Semaphore(ISSUERS_AT_ONCE)

    async def admit(self, request: Request, operation: Operation) -> tuple[Identity, datetime]:
        """Who asks and when, once it is known that they may.

        Raises:
            Refused: ``auth.token`` or ``auth.role``, recorded when it was a write; ``request.rate``.
            UsageError: ``request.invalid`` for a query that the route does not know; ``usage.arguments`` for a write
                under an unusable idempotency key.
        """
        now = self.clock()
        header = request.headers.get("authorization", "")
        judging = run_in_threadpool if header.startswith(BEARER + PREFIX) else self.ask_issuer
        identity = await judging(self._judge, header, operation, now)
        refusals.remember(request, self.authority, identity.actor, operation, now)
        if operation in WRITES:
            self.writes.take(identity.actor, now)
            check_key(key_of(request))
        check_query(request)
        return identity, now

    async def ask_issuer(self, call: Callable[P, T], *given: P.args, **more: P.kwargs) -> T:
        """What a call answers that may have to ask an issuer. Few at a time: an issuer that hangs must not take all the
        threads, in one of which a revocation is worked on.
        """
        async with self._asking:
            return await run_in_threadpool(call, *given, **more)

    def _judge(self, header: str, operation: Operation, now: datetime) -> Identity:
        actor = STRANGER
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


def check_query(request: Request) -> None:
    """Demand that every parameter of a query is one that the route knows, and stands there once: a misspelt limit or
    filter would silently show something else than what was asked for.

    Raises:
        UsageError: ``request.invalid``.
    """
    check_text(request)
    route = request.scope.get("route")  # None for a stream, which takes no query
    known = set() if route is None else {field.alias for field in route.dependant.query_params}
    given = [name for name, _ in request.query_params.multi_items()]
    wrong = [name for name in given if name not in known or given.count(name) > 1]
    if wrong:
        raise UsageError(
            "request.invalid", "the query is not one that this address takes", found=ascii(wrong[0][:80]),
            expected=f"{', '.join(sorted(known)) or 'no parameters'}, each at most once",
        )  # fmt: skip


def check_text(request: Request) -> None:
    """Demand that no parameter of a query holds the character 0, which not every engine takes for text.

    Raises:
        UsageError: ``request.invalid``.
    """
    wrong = [name for name, value in request.query_params.multi_items() if "\0" in name + value]
    if wrong:
        raise UsageError("request.invalid", "the query is not text", found=ascii(wrong[0][:80]))


async def nothing() -> Response:
    """Addresses below ``/v1`` that are not there are not files either."""
    raise Refused("request.unknown", "there is nothing at this address")


def key_of(request: Request) -> str:
    """The idempotency key that came with a request; empty for none."""
    return request.headers.get("idempotency-key", "")


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON, which nobody on the way keeps."""
    common = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(dumps(value), status, common | (headers or {}), JSON)


def tagged(request: Request, value: Any, media: str = JSON) -> Response:
    """An answer to a question that is asked again and again: whoever has it already is told so in a few bytes.

    Args:
        request: the question.
        value: the answer: bytes as they are, anything else as JSON.
        media: the answer's media type.
    """
    data = value if isinstance(value, bytes) else dumps(value)
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": PRIVATE, "Vary": "Authorization", "X-Content-Type-Options": "nosniff"}
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=media)


def matches(request: Request, tag: str) -> bool:
    """Whether a request says that its sender has what ``tag`` stands for."""
    return not tags_of(request.headers.get("if-none-match", "")).isdisjoint((tag, "*"))
