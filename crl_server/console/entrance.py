"""The entrance: signing in with an API token, signing out."""

from __future__ import annotations

import logging
import re
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api.problems import status_of
from crl_server.console.desk import SESSION, Desk
from crl_server.console.forms import read_form
from verifier.errors import Refused

# A path of the console and its query, nothing that a browser would take for another place.
_NEXT = re.compile(r"/(?:[A-Za-z0-9][A-Za-z0-9_.:%~-]*/?)*(?:\?[A-Za-z0-9_.:%~=&+-]*)?")
MAX_NEXT = 500

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

    @console.post("/logout")
    async def leave(request: Request) -> Response:
        visitor, _ = await desk.writer(request, None)
        await run_in_threadpool(desk.door.leave, desk.secret(request), visitor.now)
        return desk.drop(desk.away("/login"), SESSION)


def _facts(desk: Desk, wanted: str, error: Refused | None = None) -> dict[str, object]:
    desk.place.check()
    names: list[str] = []
    return {"next": way(wanted), "error": error, "issuers": names}


def way(wanted: str) -> str:
    """Where to go once signed in: a page of this console, whatever was asked for."""
    return wanted if len(wanted) <= MAX_NEXT and _NEXT.fullmatch(wanted) else "/"
