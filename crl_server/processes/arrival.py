"""A connection of uvicorn's on which a request has to arrive: its head in so many bytes, and in so many seconds.

uvicorn waits for ever for the rest of a head, and keeps whatever comes. Anybody could hold as many connections as this
process may have, or fill its memory over one, without a token and without ever sending a whole request.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE: Final = 30.0
"""How long, in seconds, the head of a request may take to arrive, counted from the end of what came before it."""
MAX_HEAD: Final = 64 * 1024
"""How many bytes may arrive that end no head and are no body: of heads, trailers and chunks' extensions."""
TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)  # fmt: skip


class Arrival(HttpToolsProtocol):
    """uvicorn's protocol, which ends a connection that keeps it waiting or tells it too much."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._waiting: asyncio.TimerHandle | None = None
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._wait_no_more()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, unless that is too much of nothing."""
        self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            if self._is_idle():
                self.transport.write(TOO_LARGE)
            self.transport.close()
        elif self._waiting is None and self._is_idle():
            self._wait()

    def on_headers_complete(self) -> None:
        """A head has arrived."""
        self._head = 0
        self._wait_no_more()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        self._head = 0
        super().on_body(body)

    def _is_idle(self) -> bool:
        """Whether no request is being answered: what arrives is the head of the next one."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(PATIENCE, self._late)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _late(self) -> None:
        self._waiting = None
        if self._is_idle():
            self.transport.close()
