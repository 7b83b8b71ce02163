"""``/v1/events``: a stream of what changes, for those who watch a revocation arrive (docs/spec/acknowledgement.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from crl_server.api.edge import Edge
from crl_server.api.hosts import coverage
from crl_server.api.limits import Turns
from verifier.errors import LoadlockError, Refused
from verifier.formats.strict_json import dumps

LOOK = 0.5
"""Seconds between two looks at the coverage, while anybody follows."""
PING = 15.0
"""Seconds of silence after which a comment is sent."""
MAX_STREAMS = 100
MAX_EACH = 10
"""How many streams one identity may have in a process: the others are for other people."""
JUDGED = 5.0
"""After how many seconds it is judged again whether whoever follows still may."""

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
_COMMENT = b":\n\n"


class Events:
    """The streams of one process: all of them share one look at the database.

    Args:
        read: reads what is told, as the data of one event.
        look: seconds between two looks.
        limit: how many streams there may be.
    """

    def __init__(self, read: Callable[[], bytes], look: float = LOOK, limit: int = MAX_STREAMS) -> None:
        self._read, self._look, self._limit = read, look, limit
        self._count = 0
        self._turns = Turns(MAX_EACH)
        self._closing = asyncio.Event()
        self._reading = asyncio.Lock()
        self._known, self._read_at = b"", float("-inf")

    async def open(self, actor: str, judge: Callable[[], Awaitable[object]]) -> AsyncIterator[bytes]:
        """Begin a stream, which ends as soon as its follower may not follow any more.

        Args:
            actor: who follows.
            judge: demands that they still may.

        Raises:
            Refused: ``server.streams``, ``request.rate``.
        """
        stream = self._follow(actor, judge)
        await anext(stream)  # up to where it counts: one that nobody ever reads counts no more once it is forgotten
        return stream

    def close(self) -> None:
        """End every stream; called in the event loop that serves them."""
        self._closing.set()

    async def _follow(self, actor: str, judge: Callable[[], Awaitable[object]]) -> AsyncIterator[bytes]:
        with self._place(actor):
            yield b""
            told, silent, judged = b"", 0.0, time.monotonic()
            while not self._closing.is_set():
                if time.monotonic() - judged >= JUDGED:
                    if not await _passes(judge):
                        return
                    judged = time.monotonic()
                data = await self._latest()
                silent = 0.0 if data != told else silent + self._look
                if data != told:
                    told = data
                    yield b"event: coverage\ndata: %s\n\n" % data
                elif silent >= PING:
                    silent = 0.0
                    yield _COMMENT
                await self._pause()

    @contextmanager
    def _place(self, actor: str) -> Iterator[None]:
        """Be one of the streams that there may be."""
        if self._closing.is_set() or self._count >= self._limit:
            raise Refused("server.streams", "this server holds as many streams as it may", found=str(self._count))
        with self._turns.of(actor):
            self._count += 1
            try:
                yield
            finally:
                self._count -= 1

    async def _latest(self) -> bytes:
        async with self._reading:
            if time.monotonic() - self._read_at >= self._look:
                try:
                    self._known = await run_in_threadpool(self._read)
                except LoadlockError:
                    if not self._known:
                        raise  # nothing to tell yet; a later look may succeed, and the follower comes back
                self._read_at = time.monotonic()
            return self._known

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), self._look)
        except TimeoutError:
            return


async def _passes(judge: Callable[[], Awaitable[object]]) -> bool:
    """Whether somebody may still follow; who cannot be judged now may not, and comes back."""
    try:
        await judge()
    except LoadlockError:
        return False
    return True


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject. The stream never ends, and is no operation of the OpenAPI document."""
    events = Events(lambda: dumps(coverage(edge.authority, None, edge.clock())))
    app.state.events = events

    async def follow(request: Request) -> Response:
        identity, _ = await edge.admit(request, "host.read")
        stream = await events.open(identity.actor, lambda: edge.admit(request, "host.read"))
        return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)

    app.add_route("/v1/events", follow, methods=["GET"])
