"""The push stream: everybody who listens hears of a new head within a moment (docs/spec/push.md).

One task looks at the head's file, whoever wrote it: this process, a command on the same machine, or a copy that arrived
from elsewhere. A listener costs one waiting coroutine and no queue. One that takes its time is not waited for: it gets
the latest event once it has taken the one before.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import suppress
from typing import Any, Final

from crl_server.api import problems
from crl_server.layout import Layout
from crl_server.lists.stamps import Stamp, stamp
from verifier.errors import LoadlockError, Refused
from verifier.files import read_capped
from verifier.formats import dsse
from verifier.formats.push import EVENT, MAX_PUSHED_HEAD, MAX_PUSHED_SEGMENT, Announcement, dump_announcement
from verifier.formats.revocations import Head, parse_head, sha256_hex

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

STREAM: Final = "/v1/stream"
LOOK: Final = 0.05
"""How often, in seconds, the head's file is looked at while anybody listens."""
PING: Final = 15.0
"""After how many seconds of silence a comment is sent, so that both sides know that the other is there."""
MAX_LISTENERS: Final = 10_000
"""How many streams a process holds; the next ones are told to come back."""

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
_COMMENT: Final = b":\n\n"

log = logging.getLogger("crl_server")


class _Listener:
    """One open stream; ``version`` is that of the last event given to it."""

    __slots__ = ("send", "sending", "version")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.version = 0
        self.sending: asyncio.Task[None] | None = None


class Hub:
    """Tells all listeners of one process of each new head.

    Args:
        layout: the deployment's directory.
        look: seconds between two looks at the head's file.
        ping: seconds of silence before a comment.
        limit: how many may listen.
    """

    def __init__(self, layout: Layout, *, look: float = LOOK, ping: float = PING, limit: int = MAX_LISTENERS) -> None:
        self._layout = layout
        self._look, self._ping, self._limit = look, ping, limit
        self._listeners: set[_Listener] = set()
        self._seen: Stamp | None = None
        self._unreadable: Stamp | None = None
        self._event, self._version = b"", 0
        self._looking: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._closed = False

    def __len__(self) -> int:
        """How many are listening."""
        return len(self._listeners)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream until the listener leaves or :meth:`close` is called."""
        await self._refresh()  # before they are counted: those who come meanwhile count as well
        if self._closed or len(self._listeners) >= self._limit:
            full = Refused("server.streams", "this server holds as many streams as it may", found=f"{len(self)}")
            await problems.problem(full)(scope, receive, send)
            return
        self._start_looking()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        listener = _Listener(send)
        self._listeners.add(listener)
        try:
            if self._version:
                self._deliver(listener)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._listeners.discard(listener)

    async def close(self) -> None:
        """End every stream; listeners connect again, to another replica or to the next process."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        for listener in list(self._listeners):
            await _end(listener)

    # -- looking -------------------------------------------------------------------------------------------------------

    def _start_looking(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._run(), name="push")

    async def _run(self) -> None:
        silent = 0.0
        while self._listeners or silent < self._ping:
            await asyncio.sleep(self._look)
            silent = 0.0 if await self._refresh() else silent + self._look
            if silent >= self._ping and self._listeners:
                silent = 0.0
                for listener in list(self._listeners):
                    if listener.sending is None:
                        listener.sending = asyncio.create_task(self._comment(listener))

    async def _refresh(self) -> bool:
        """Read the head if it is another one, and give it to everybody; whether it was. One read at a time: of two that
        overlap, the older head could come last.
        """
        async with self._reading:
            return await self._read_head()

    async def _read_head(self) -> bool:
        seen = stamp(self._layout.head)
        if seen is None or seen == self._seen:  # none yet, or not now: the next look may find it
            return False
        try:
            event = await asyncio.to_thread(read_event, self._layout)
        except LoadlockError as error:
            if seen != self._unreadable:
                self._unreadable = seen
                log.error("the head cannot be pushed: %s", error)
            return False
        self._seen = seen
        if event == self._event:
            return False
        self._event = event
        self._version += 1
        for listener in list(self._listeners):
            self._deliver(listener)
        return True

    # -- sending -------------------------------------------------------------------------------------------------------

    def _deliver(self, listener: _Listener) -> None:
        """Give a listener the latest event, as soon as it has taken what it was given before."""
        if listener.sending is None and listener.version != self._version:
            listener.version = self._version
            rest = _begin(listener.send(_body(self._event)))
            if rest is not None:
                listener.sending = asyncio.create_task(self._send_rest(listener, rest))

    async def _send_rest(self, listener: _Listener, rest: Awaitable[None]) -> None:
        try:
            await rest
            while listener.version != self._version:
                listener.version = self._version
                await listener.send(_body(self._event))
        finally:
            listener.sending = None

    async def _comment(self, listener: _Listener) -> None:
        try:
            await listener.send(_body(_COMMENT))
        finally:
            listener.sending = None
        self._deliver(listener)


def read_event(layout: Layout) -> bytes:
    """The event that announces the head on disk.

    Raises:
        UsageError: ``io.failed``; FormatError: any ``format.*`` code.
    """
    data = read_capped(layout.head, MAX_PUSHED_HEAD, "revocation head")
    # Written by this service; whoever listens judges it by its signature.
    head = parse_head(dsse.parse_envelope(data, what="revocation head").unverified_payload)
    line = dump_announcement(Announcement(data, _newest_segment(layout, head)))
    return b"id: %d.%d\nevent: %s\ndata: %s\n\n" % (head.epoch, head.seq, EVENT.encode(), line)


def _newest_segment(layout: Layout, head: Head) -> bytes:
    if not head.segments:
        return b""
    newest = head.segments[-1]
    path = layout.list_file("segments", newest.sha256)
    try:
        data = read_capped(path, MAX_PUSHED_SEGMENT, "segment")
    except LoadlockError:
        return b""  # too large to go along; who needs it fetches it
    return data if sha256_hex(data) == newest.sha256 else b""


def with_stream(application: Application, hub: Hub) -> Application:
    """The application, with the stream in front of it: none of its layers stands between the hub and a listener."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        streaming = scope["type"] == "http" and scope["path"] == STREAM and scope["method"] == "GET"
        await (hub if streaming else application)(scope, receive, send)

    return serve


def _begin(sending: Awaitable[None]) -> Awaitable[None] | None:
    """Begin to send, at once and without a task; what is left of it to await, if it has to wait for its reader.

    A task for each listener would cost more than all the rest of the work for it.
    """
    steps = sending.__await__()
    try:
        waiting = next(steps)
    except StopIteration:
        return None
    return _going_on(steps, waiting)


@types.coroutine
def _going_on(steps: Generator[Any, Any, None], waiting: Any) -> Generator[Any, Any, None]:
    """Hand on to the event loop what ``steps`` is waiting for, and then leave the rest to it."""
    yield waiting
    yield from steps


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _end(listener: _Listener) -> None:
    """End a stream, unless its reader has stopped reading: the server cuts that one off with its grace."""
    with suppress(TimeoutError):
        await asyncio.wait_for(listener.send({"type": "http.response.body", "body": b"", "more_body": False}), 1.0)
