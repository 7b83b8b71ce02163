"""Where connections arrive: plain questions for public files are answered here, everything else goes on to uvicorn.

A host asks for the head in the same bytes each time, and so do a thousand hosts of one release. So the bytes of a
request are looked up whole; only those that nobody has sent before are taken apart, and only those of the plainest form
are answered: one whole request that came in one piece, ``GET`` or ``HEAD``, HTTP/1.1, a name without escapes or query,
no body, and no header that asks for more than the file. Whatever else arrives, a connection is handed to uvicorn with
what it brought, and is uvicorn's from then on: nothing is judged here that uvicorn would judge otherwise.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast

from crl_server.lists.public_files import ROUTE, tags_of
from crl_server.operating import tracing
from crl_server.operating.instruments import Instruments
from crl_server.operating.request_context import HEADER
from crl_server.processes.shelf import Asked, Shelf

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

MAX_REQUEST: Final = 2_048
"""How long, in bytes, a request may be that is answered here."""
MAX_KNOWN: Final = 1_024
"""How many requests are remembered; when there are more, all are forgotten."""

_REQUEST: Final = re.compile(
    rb"(GET|HEAD) /([A-Za-z0-9._/-]+) HTTP/1\.1\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[ -~\t]*\r\n)+)\r\n"
)
_MORE: Final = frozenset(
    {
        b"authorization", b"connection", b"content-length", b"cookie", b"expect", b"if-match", b"if-range", b"range",
        b"te", b"trailer", b"transfer-encoding", b"upgrade", b"traceparent", b"tracestate", HEADER,
    }
)  # fmt: skip
"""Headers that ask for more than the file, or are not to be remembered."""


class Doorway:
    """What the connections of one process share.

    Args:
        shelf: holds the files.
        instruments: count what is answered here, as uvicorn's requests are counted by the application.

    Attributes:
        shelf: as given.
        beyond: uvicorn's protocol, for whatever is not answered here.
        patience: how long, in seconds, a connection may take to bring its first request.
    """

    def __init__(self, shelf: Shelf, instruments: Instruments) -> None:
        from crl_server.processes import arrival

        self.beyond = arrival.Arrival
        self.patience = arrival.PATIENCE
        self.shelf = shelf
        self._instruments = instruments
        self._known: dict[bytes, Asked] = {}
        self._ids = count()
        self._process = secrets.token_hex(8).encode()
        self._common: tuple[object, bytes] = (None, b"")

    def protocol(self, config: Config, server_state: ServerState, **more: Any) -> asyncio.Protocol:
        """A connection's protocol, as uvicorn asks for it."""
        return _Arrival(self, config, server_state, more)

    def answer(self, data: bytes, state: ServerState) -> bytes | None:
        """The answer to what has arrived, whole; None when it is for uvicorn."""
        began = perf_counter()
        asked = self._known.get(data) or self._learn(data)
        answer = None if asked is None else self.shelf.answer(asked)
        if asked is None or answer is None:
            return None
        wire = b"%s%s%s: %s%016x\r\n\r\n%s" % (
            answer.wire, self._headers(state), HEADER, self._process, next(self._ids), answer.body,
        )  # fmt: skip
        self._instruments.answered("HEAD" if asked.bare else "GET", ROUTE, answer.status, perf_counter() - began)
        return wire

    def _learn(self, data: bytes) -> Asked | None:
        asked = understood(data)
        if asked is not None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[data] = asked
        return asked

    def _headers(self, state: ServerState) -> bytes:
        """What uvicorn says in every answer: the date, which it writes anew each second."""
        headers = state.default_headers
        if self._common[0] is not headers:
            self._common = headers, b"".join(b"%s: %s\r\n" % pair for pair in headers)
        return self._common[1]


def understood(data: bytes) -> Asked | None:
    """What a request asks for; None when it is not of the plain form."""
    found = _REQUEST.fullmatch(data) if len(data) <= MAX_REQUEST else None
    if found is None:
        return None
    method, name, lines = found.groups()
    headers: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[:-1]:
        key, _, value = line.partition(b":")
        key = key.lower()
        if key in headers or (key in _MORE and (key, value.strip().lower()) != (b"connection", b"keep-alive")):
            return None
        headers[key] = value
    if b"host" not in headers:
        return None
    tags = tags_of(headers.get(b"if-none-match", b"").decode("ascii"))
    return Asked(name.decode("ascii"), method == b"HEAD", tags)


class _Arrival(asyncio.Protocol):
    """One connection, until something arrives that is for uvicorn."""

    def __init__(self, doorway: Doorway, config: Config, state: ServerState, more: dict[str, Any]) -> None:
        self._doorway = doorway
        self._config, self._state, self._more = config, state, more
        self._loop = asyncio.get_running_loop()
        self._answered = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections.add(cast("Any", self))
        self._idle = self._loop.call_later(self._doorway.patience, self._transport.close)
        if tracing.wanted():
            self._hand_over()

    def data_received(self, data: bytes) -> None:
        answer = self._doorway.answer(data, self._state)
        if answer is None:
            self._hand_over().data_received(data)
            return
        self._transport.write(answer)
        if not self._answered:
            self._idle.cancel()
            self._idle = self._loop.call_later(self._config.timeout_keep_alive, self._look)
        self._answered = self._loop.time()

    def pause_writing(self) -> None:
        """Whoever does not take the answers gets no further ones."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def shutdown(self) -> None:
        """End, as uvicorn asks its connections to: nothing is ever under way here."""
        self._transport.close()

    def _look(self) -> None:
        """End a connection that has been silent for long; asked once in a while, not at each request."""
        left = self._answered + self._config.timeout_keep_alive - self._loop.time()
        if left > 0:
            self._idle = self._loop.call_later(left, self._look)
        else:
            self._transport.close()

    def _leave(self) -> None:
        self._state.connections.discard(cast("Any", self))
        self._idle.cancel()

    def _hand_over(self) -> asyncio.Protocol:
        self._leave()
        uvicorns = self._doorway.beyond(self._config, self._state, **self._more)
        self._transport.set_protocol(uvicorns)
        uvicorns.connection_made(self._transport)
        return uvicorns
