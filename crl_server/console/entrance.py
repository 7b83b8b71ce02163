"""The entrance: signing in with an API token or through an issuer, signing out."""

from __future__ import annotations

import logging
import re
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.access.issuers import Issuer
from crl_server.api.problems import status_of
from crl_server.console.desk import SESSION, Desk
from crl_server.console.forms import read_form
from crl_server.console.oidc_login import Attempt, Login
from verifier.errors import Refused

ATTEMPT = "loadlock-login"
"""The cookie that holds the secret of an attempt to sign in, and where to go then."""
ATTEMPT_LIFE = 600
"""For how many seconds an attempt may last."""
MAX_NEXT = 500

_PART = "[A-Za-z0-9][A-Za-z0-9_.:%~-]*"
# A path of the console and its query, nothing that a browser would take for another place. Each text can be read in one
# way only: anybody may send one, and an expression that tries many would hold the whole process up.
_NEXT = re.compile(rf"/(?:{_PART}(?:/{_PART})*/?)?(?:\?[A-Za-z0-9_.:%~=&+-]*)?")

IssuerName = Annotated[str, Path(max_length=64)]

log = logging.getLogger("crl_server")


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/login")
    async def entrance(next: Annotated[str, Query(max_length=MAX_NEXT)] = "/") -> Response:  # noqa: A002 - its name
        return desk.page(None, "login.html", _facts(desk, next))

    @console.post("/login")
    async def enter(request: Request) -> Response:
        desk.check_origin(request)
        form = await read_form(request)
        wanted = form.text("next")
        try:
            secret = await run_in_threadpool(desk.door.enter, form.text("token"), desk.secret(request), desk.clock())
        except Refused as refusal:
            log.warning("console: signing in was refused: %s", refusal.code)
            return desk.page(None, "login.html", _facts(desk, wanted, refusal), status_of(refusal.code))
        return desk.keep(desk.away(way(wanted)), SESSION, secret)

    @console.get("/login/{name}")
    async def to_issuer(name: IssuerName, next: Annotated[str, Query(max_length=MAX_NEXT)] = "/") -> Response:  # noqa: A002
        desk.place.check()
        attempt = Attempt.new(name)
        where = await desk.ask_issuer(login(desk, name).way, attempt)
        response = Response(status_code=303, headers={"Location": where})
        return desk.keep(response, ATTEMPT, f"{attempt.secret}.{quote(way(next), safe='')}", ATTEMPT_LIFE)

    @console.get("/login/{name}/return")
    async def from_issuer(request: Request, name: IssuerName) -> Response:
        return await desk.ask_issuer(_return, desk, request, name)

    @console.post("/logout")
    async def leave(request: Request) -> Response:
        visitor, _ = await desk.writer(request, None)
        await run_in_threadpool(desk.door.leave, desk.secret(request), visitor.now)
        return desk.drop(desk.away("/login"), SESSION)


def way(wanted: str) -> str:
    """Where to go once signed in: a page of this console, whatever was asked for."""
    return wanted if len(wanted) <= MAX_NEXT and _NEXT.fullmatch(wanted) else "/"


def login(desk: Desk, name: str) -> Login:
    """The way in through an issuer.

    Raises:
        Refused: ``auth.login`` when the operator names none of that name for the console.
    """
    redirect = f"{desk.place.url}/login/{name}/return"
    return Login(_issuer(desk, name), desk.authority.known_issuers, redirect, desk.authority.layout.issuers.parent)


def _issuer(desk: Desk, name: str) -> Issuer:
    for issuer in desk.authority.issuers:
        if issuer.name == name:
            return issuer
    raise Refused("auth.login", "there is no such issuer", found=f"{name!a:.80}")


def _return(desk: Desk, request: Request, name: str) -> Response:
    """Somebody comes back from an issuer: whatever comes of it, the attempt is over."""
    kept = request.cookies.get(desk.place.cookie(ATTEMPT), "")
    secret, _, wanted = kept.partition(".")
    now = desk.clock()
    try:
        if not secret:
            raise Refused("auth.login", "this browser has not begun to sign in, or too long ago")
        identity = login(desk, name).finish(Attempt(secret, name), request.query_params, now)
        session = desk.door.enter_through(_issuer(desk, name), identity, desk.secret(request), now)
    except Refused as refusal:
        log.warning("console: signing in through %s was refused: %s", ascii(name[:64]), refusal.code)
        response = desk.page(None, "login.html", _facts(desk, "/", refusal), status_of(refusal.code))
        return desk.drop(response, ATTEMPT)
    response = desk.drop(desk.away(way(unquote(wanted))), ATTEMPT)
    return desk.keep(response, SESSION, session)


def _facts(desk: Desk, wanted: str, error: Refused | None = None) -> dict[str, object]:
    desk.place.check()
    names = [issuer.name for issuer in desk.authority.issuers if issuer.console is not None]
    return {"next": way(wanted), "error": error, "issuers": names}
