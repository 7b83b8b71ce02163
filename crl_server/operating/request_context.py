"""What every request is given before it is worked on: an id, a line in the log, a place in the metrics, a span.

An ASGI layer around the whole application. A request's id comes from ``X-Request-Id`` when that is plain, and is made
here otherwise; the answer carries it, and so does every line that is logged for it.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from crl_server.lists.public_files import ROUTE
from crl_server.operating import tracing
from crl_server.operating.instruments import Instruments
from crl_server.operating.logs import request_id

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"x-request-id"
STREAM = b"text/event-stream"
"""What marks an answer that goes on until somebody ends it: how long it took says nothing."""
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
UNKNOWN = "other"
"""What stands for a method or a route that is none, so that nobody can make up labels."""
QUIET = frozenset({ROUTE, "/healthz", "/readyz", "/metrics"})
"""Routes whose requests are many and say little; the log leaves them out unless something went wrong."""

_PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
log = logging.getLogger("crl_server.access")


def observed(application: Application, instruments: Instruments) -> Application:
    """The application, with each request given an id, measured and logged."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        await _Request(scope, instruments).run(application, receive, send)

    return serve


class _Request:
    """One request on its way."""

    def __init__(self, scope: Scope, instruments: Instruments) -> None:
        self.scope = scope
        self.instruments = instruments
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        self.id = given.decode() if _PLAIN.fullmatch(given) else uuid.uuid4().hex
        self.status = 500
        self.streams = False
        self.began = perf_counter()

    async def run(self, application: Application, receive: Receive, send: Send) -> None:
        """Work on it."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.streams = any(
                    name == b"content-type" and value.startswith(STREAM) for name, value in message.get("headers", ())
                )
                message["headers"] = [*message.get("headers", ()), (HEADER, self.id.encode())]
            await send(message)

        token = request_id.set(self.id)
        try:
            with tracing.request_span(self.scope) as span:
                try:
                    await application(self.scope, receive, answer)
                finally:
                    span.end_request(self.method, self.route, self.status)
        finally:
            self._ended()
            request_id.reset(token)

    @property
    def method(self) -> str:
        """The method, or :data:`UNKNOWN`."""
        return self.scope["method"] if self.scope["method"] in METHODS else UNKNOWN

    @property
    def route(self) -> str:
        """The route's own form, never what somebody made of it; known once the application has looked for it."""
        return str(getattr(self.scope.get("route"), "path", UNKNOWN))

    def _ended(self) -> None:
        seconds, route = perf_counter() - self.began, self.route
        self.instruments.answered(self.method, route, self.status, None if self.streams else seconds)
        if log.isEnabledFor(logging.INFO) and (route not in QUIET or self.status >= 500):
            fields = {
                "method": self.method,
                "route": route,
                "path": ascii(self.scope["path"][:200])[1:-1],
                "status": self.status,
                "ms": round(seconds * 1000, 2),
            }
            log.info("%s %s %d", fields["method"], fields["path"], self.status, extra={"fields": fields})
