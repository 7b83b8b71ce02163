"""A real server on loopback in a thread of the test's process, with the clock as an attribute."""

from __future__ import annotations

import json
import socket
import threading
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

import urllib3
import uvicorn

from crl_server.api.app import create_app
from crl_server.api.limits import Rate
from crl_server.api.static import with_shelf
from crl_server.operating.instruments import Instruments
from crl_server.operating.request_context import observed
from crl_server.processes.doorway import Doorway
from crl_server.processes.shelf import Shelf
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from tests.crl_server.deployments import NOW

MANY = Rate(burst=100_000, each_second=1.0)
"""As many writes as a test may want; the clock stands still."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def listen() -> socket.socket:
    """A socket on loopback that takes connections."""
    return socket.create_server(("127.0.0.1", 0))


def address_of(listening: socket.socket) -> str:
    """The address of a server behind that socket."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


class Live:
    """Serves an authority while inside its block.

    Args:
        authority: the deployment.
        listening: a socket to take connections on, for a deployment that had to know its address first.

    Attributes:
        now: what the server's clock tells.
        address: its address.
        instruments: what is measured of it.
    """

    def __init__(self, authority: Authority, listening: socket.socket | None = None, rate: Rate | None = MANY) -> None:
        self.authority = authority
        self.now: datetime = NOW
        self._socket = listening or listen()
        self.address = address_of(self._socket)
        self.instruments = Instruments()
        app = create_app(authority, lambda: self.now, rate, self.instruments)
        self._shelf = Shelf(authority.layout.public, app.state.wholeness)
        application = observed(with_shelf(app, self._shelf), self.instruments)
        doorway: Any = Doorway(self._shelf, self.instruments).protocol
        config = uvicorn.Config(application, http=doorway, log_level="critical", log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._pool = urllib3.PoolManager(retries=False, timeout=20)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pool.clear()
        self._server.should_exit = True
        self._thread.join()
        self._shelf.close()
        self._socket.close()

    def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        fields: dict[str, Any] | None = None,
    ) -> Answer:
        """Send one request; the path is sent as it is."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        sent |= headers or {}
        more: dict[str, Any] = {"fields": fields} if fields is not None else {"body": body}
        answer = self._pool.request(method, self.address + path, headers=sent, redirect=False, **more)
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.itermerged()}, answer.data)

    def send_raw(self, data: bytes) -> bytes:
        """Send bytes as they are over a connection of their own; returns the first line that comes back."""
        with socket.create_connection(self._socket.getsockname(), timeout=20) as connection:
            connection.sendall(data)
            return connection.makefile("rb").readline()


def refusal(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The problem document, once it is what it should be."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), answer
    told: dict[str, Any] = answer.json
    assert told["code"] == code, told
    assert told["status"] == status
    assert set(told) == {"type", "title", "status", "code", "step", "what", "found", "expected", "todo"}
    assert told["todo"]
    return told


def denials(authority: Authority) -> list[tuple[str, str, str]]:
    """The refused writes that the audit log has: who, what, and the code."""
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    return [(e.actor, e.subject, e.detail["code"]) for e in entries if e.action == "access.denied"]
