"""Problem documents (RFC 9457), built here and nowhere else: our code, our four sentences, a status, no internals."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError

from crl_server.api.limits import TooMany
from crl_server.api.refusals import record
from verifier.errors import FormatError, LoadlockError, UsageError
from verifier.formats.strict_json import Document, dumps

MEDIA_TYPE = "application/problem+json"
TYPE = "https://loadlock.dev/problems/"
"""What a problem's ``type`` begins with; the code follows."""


class Problem(Document, frozen=True, kw_only=True):
    """A problem document: the members of RFC 9457, and our code, step and sentences."""

    type: str
    title: str
    status: int
    code: str
    step: int | None
    what: str
    found: str
    expected: str
    todo: str


STATUS: Mapping[str, int] = {
    "auth.token": 401,
    "auth.session": 401,
    "auth.login": 401,
    "auth.form": 403,
    "auth.role": 403,
    "auth.plugin": 403,
    "auth.host": 403,
    "request.unknown": 404,
    "request.rate": 429,
    "request.slow": 408,
    "registry.unknown": 404,
    "reinstatement.unknown": 404,
    "reinstatement.own": 403,
    "waiver.unknown": 404,
    "waiver.own": 403,
    "waiver.ended": 409,
    "list.full": 409,
    "revocation.reach": 409,
    "format.too-large": 413,
    "wheel.too-large": 413,
    "request.invalid": 400,
    "usage.arguments": 400,
    "clock.behind": 503,
    "io.failed": 503,
    "internal.unexpected": 500,
}
"""The HTTP status of codes that have one of their own."""
GROUPS: Mapping[str, int] = {"server": 503, "unreachable": 503, "usage": 503, "trust": 503}
"""The HTTP status of groups of codes: what is wrong here is wrong with the server, not with the request."""
REFUSED = 422
"""The status of every other refusal: the request was understood, and what it brought was judged."""


def status_of(code: str) -> int:
    """The HTTP status that goes with a code."""
    return STATUS.get(code) or GROUPS.get(code.partition(".")[0], REFUSED)


def document_of(error: LoadlockError, status: int | None = None) -> Problem:
    """An error as a problem document."""
    number = status or status_of(error.code)
    return Problem(type=TYPE + error.code, title=error.what, status=number, **error.document())


def problem(error: LoadlockError, status: int | None = None) -> Response:
    """The answer that tells of an error."""
    number = status or status_of(error.code)
    document = document_of(error, number)
    headers = {"Cache-Control": "no-store"}
    if number == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="loadlock"'
    return Response(dumps(document), number, headers | again(error), MEDIA_TYPE)


def again(error: LoadlockError) -> dict[str, str]:
    """The header that says when to come back, where an error says so (RFC 9110 section 10.2.3)."""
    return {"Retry-After": str(error.seconds)} if isinstance(error, TooMany) else {}


def install(app: FastAPI) -> None:
    """Make every error of an application a problem document."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, LoadlockError)  # noqa: S101 - registered for this class alone
        await record(request, error)
        return problem(error)

    async def unknown(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else getattr(error, "status_code", 404)
        found = "no such address" if status == 404 else "a method that this address does not take"
        if status not in (404, 405):
            return problem(FormatError("request.invalid", "the request is malformed"), status)
        return problem(UsageError("request.unknown", "there is nothing at this address", found=found), status)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return problem(UsageError("request.invalid", f"the request is wrong at {place}", found=str(first["msg"])))

    async def unexpected(_: Request, __: Exception) -> Response:
        # The server's log has the cause; whoever asked learns nothing about the inside.
        return problem(LoadlockError("internal.unexpected", "the server met an error nobody foresaw"))

    app.add_exception_handler(LoadlockError, refused)
    app.add_exception_handler(404, unknown)
    app.add_exception_handler(405, unknown)
    app.add_exception_handler(400, unknown)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)
