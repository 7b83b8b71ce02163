"""The console as an application of its own below ``/console``: its errors are pages, its headers are strict."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError

from crl_server.api.edge import Edge
from crl_server.api.problems import again, status_of
from crl_server.api.refusals import record
from crl_server.console import (
    approvals,
    audit_pages,
    catalogue,
    entrance,
    files,
    hosts_pages,
    overview,
    revocations,
    revoke,
    search,
    waivers,
)
from crl_server.console.desk import Desk
from crl_server.console.place import ROOM
from crl_server.operating.tracing import NOT_FASTAPIS
from verifier.errors import LoadlockError, UsageError

SUBJECTS = (
    files, entrance, overview, catalogue, revocations, revoke, approvals, waivers, hosts_pages, audit_pages,
    search,
)  # fmt: skip
"""The modules whose routes make up the console."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Scripts and styles are files of this server alone; nothing frames the console."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with "no-referrer" a browser would not say where its forms come from
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger("crl_server")


def add_console(app: FastAPI, edge: Edge) -> None:
    """Serve the console below ``/console``, and send whoever comes to the server's own address there."""
    desk = Desk(edge)
    console = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=NOT_FASTAPIS)
    for subject in SUBJECTS:
        subject.add_pages(console, desk)
    _install_errors(console, desk)

    async def to_console(_: Request) -> Response:
        return desk.away("/")

    app.add_route("/", to_console, methods=["GET"], include_in_schema=False)
    app.add_route(ROOM, to_console, methods=["GET"], include_in_schema=False)
    app.mount(ROOM, _with_headers(console))


def _with_headers(application: FastAPI) -> Any:
    """The application with the headers of safety on every answer, and nothing kept by anybody on the way."""

    async def serve(scope: Message, receive: Any, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                stated = {name.lower() for name, _ in headers}
                headers += HEADERS
                if b"cache-control" not in stated:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await application(scope, receive, sending)

    return serve


def _install_errors(console: FastAPI, desk: Desk) -> None:
    """Make every error a page; who is not signed in is led to the entrance."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, LoadlockError)  # noqa: S101 - registered for this class alone
        if error.code == "auth.session" and request.method in ("GET", "HEAD"):
            return _to_entrance(request, desk)
        await record(request, error)
        shown = desk.page(None, "error.html", {"error": error}, status_of(error.code))
        shown.headers.update(again(error))
        return shown

    async def unknown(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else getattr(error, "status_code", 404)
        nothing = UsageError("request.unknown", "there is nothing at this address")
        return desk.page(None, "error.html", {"error": nothing}, status)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        wrong = UsageError("request.invalid", f"the address is wrong at {place[:80]!a}", found=str(first["msg"]))
        return desk.page(None, "error.html", {"error": wrong}, status_of(wrong.code))

    async def unexpected(_: Request, __: Exception) -> Response:
        # The server's log has the cause; whoever asked learns nothing about the inside.
        error = LoadlockError("internal.unexpected", "the server met an error nobody foresaw")
        return desk.page(None, "error.html", {"error": error}, 500)

    console.add_exception_handler(LoadlockError, refused)
    console.add_exception_handler(404, unknown)
    console.add_exception_handler(405, unknown)
    console.add_exception_handler(RequestValidationError, invalid)
    console.add_exception_handler(Exception, unexpected)


def _to_entrance(request: Request, desk: Desk) -> Response:
    if request.headers.get("hx-request") == "true":  # htmx would put the entrance into a corner of the page
        return Response(status_code=401, headers={"HX-Redirect": f"{desk.place.base}/login"})
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = quote(request.scope["path"].removeprefix(ROOM) + query, safe="")
    return desk.away("/login" if wanted in ("", "%2F") else f"/login?next={wanted}")
