"""What every page of the console needs: who is there, what they may do, and the form of an answer."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from crl_server.access.roles import WRITES, Operation, authorise
from crl_server.api import refusals
from crl_server.api.edge import Edge, check_text
from crl_server.console.door import Door, Visitor
from crl_server.console.forms import Form, read_form
from crl_server.console.place import Place
from crl_server.console.render import Renderer, read_assets
from crl_server.console.sessions import LIFE
from crl_server.revocation import reinstating, waiving
from verifier.errors import Refused

SESSION = "loadlock-session"
"""The cookie that holds a session's secret."""

Facts = Mapping[str, Any]
T = TypeVar("T")


class Desk:
    """The console as its pages see it.

    Args:
        edge: the service as the API's routes see it, with which the console shares its clock and its limits.
    """

    def __init__(self, edge: Edge) -> None:
        authority = edge.authority
        self.authority = authority
        self.clock = edge.clock
        self.ask_issuer = edge.ask_issuer
        self._writes = edge.writes
        self.place = Place.of(authority.record.server)
        self.door = Door(authority, self.place)
        self.assets = read_assets()
        self.renderer = Renderer(self.place.base, self.assets, {"deployment": authority.record.deployment})

    # -- who -----------------------------------------------------------------------------------------------------------

    async def reader(self, request: Request, operation: Operation, *, counts: bool = True) -> Visitor:
        """Who looks at a page, once it is known that they may.

        Args:
            request: the request.
            operation: what the page shows.
            counts: whether it is the person who asks, not a page by itself.

        Raises:
            Refused: ``auth.session``, ``auth.role``.
        """
        now = self.clock()
        visitor = await run_in_threadpool(self.door.visitor, self.secret(request), now, counts=counts)
        authorise(visitor.identity, operation)
        check_text(request)
        return visitor

    async def writer(self, request: Request, operation: Operation | None) -> tuple[Visitor, Form]:
        """Who sends a form and what stands in it, once it is known that it is theirs and that they may.

        Args:
            request: the request.
            operation: what the form asks for; None for what everybody may who is signed in.

        Raises:
            Refused: ``auth.session``, ``auth.form``, ``auth.role`` (which is recorded), ``request.rate``.
            FormatError, UsageError: as :func:`crl_server.console.forms.read_form`.
        """
        self.check_origin(request)
        now = self.clock()
        visitor = await run_in_threadpool(self.door.visitor, self.secret(request), now)
        form = await read_form(request)
        if not hmac.compare_digest(form.text("form_token").encode(), visitor.form_token.encode()):
            raise Refused("auth.form", "the form is not of this session")
        if operation is not None:
            await run_in_threadpool(self._authorise, visitor, operation)
            refusals.remember(request, self.authority, visitor.identity.actor, operation, visitor.now)
            self._writes.take(visitor.identity.actor, visitor.now)
        return visitor, form

    def _authorise(self, visitor: Visitor, operation: Operation) -> None:
        try:
            authorise(visitor.identity, operation)
        except Refused as refusal:
            if operation in WRITES:
                self.authority.record_denial(visitor.identity.actor, operation, refusal.code, visitor.now)
            raise

    def check_origin(self, request: Request) -> None:
        """Demand that a form comes from a page of this console; raises as :meth:`Place.check_origin`."""
        self.place.check_origin(request.headers.get("origin", ""), request.headers.get("host", ""))

    # -- answers -------------------------------------------------------------------------------------------------------

    async def show(self, visitor: Visitor, template: str, facts: Callable[[], Facts], status: int = 200) -> Response:
        """A page of facts that are gathered now, off the event loop."""
        return await run_in_threadpool(lambda: self.page(visitor, template, facts(), status))

    def page(self, visitor: Visitor | None, template: str, facts: Facts, status: int = 200) -> Response:
        """A page; the menu goes with it when somebody is signed in."""
        now = visitor.now if visitor else self.clock()
        told = {"visitor": visitor, "now": now, **(self._pending(now) if visitor else {}), **facts}
        return HTMLResponse(self.renderer.page(template, told), status)

    def away(self, path: str, status: int = 303) -> Response:
        """To another page of the console; ``path`` begins with a slash, and stays below the console whatever it is."""
        return Response(status_code=status, headers={"Location": self.place.base + path})

    def _pending(self, now: datetime) -> Facts:
        """What the menu counts."""
        with self.authority.store.read() as ledger:
            return {"pending": reinstating.pending(ledger), "pleas_pending": waiving.pending(ledger, now)}

    # -- cookies -------------------------------------------------------------------------------------------------------

    def secret(self, request: Request) -> str:
        """The secret that a browser has sent, if any."""
        return request.cookies.get(self.place.cookie(SESSION), "")

    def keep(self, response: Response, name: str, value: str, seconds: int = int(LIFE.total_seconds())) -> Response:
        """Give the browser a cookie that no script reads and no other site sends along with a form."""
        response.set_cookie(
            self.place.cookie(name), value, max_age=seconds, path=self.place.path, secure=self.place.secure,
            httponly=True, samesite="lax",
        )  # fmt: skip
        return response

    def drop(self, response: Response, name: str) -> Response:
        """Take a cookie back."""
        return self.keep(response, name, "", 0)


def page_of(rows: Sequence[T], most: int) -> tuple[Sequence[T], T | None]:
    """Of rows, one more of which was asked for than a page has: those of the page, and its last one if more follow."""
    return rows[:most], rows[most - 1] if len(rows) > most else None
