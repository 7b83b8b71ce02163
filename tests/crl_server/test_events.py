"""The stream of coverage: who may follow it, what it tells, and that it lets the server end."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from crl_server.api.app import create_app
from crl_server.api.events import Events
from crl_server.operating.push import Hub
from crl_server.processes.process import server_of
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, DAY, NOW, revoke
from tests.crl_server.live import Live, listen, refusal
from tests.crl_server.test_hosts import claim, said
from verifier.errors import Refused, Unreachable
from verifier.formats.text import Name

pytestmark = pytest.mark.usefixtures("engine")


class Serving:
    """The service with its streams, as ``loadlock serve`` runs it."""

    def __init__(self, authority: Authority) -> None:
        self._socket = listen()
        self.at: tuple[str, int] = self._socket.getsockname()
        application, hub = create_app(authority, lambda: NOW), Hub(authority.layout)
        self.server = server_of(application, hub, application.state.events)
        self._thread = threading.Thread(target=self.server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive(), "an open stream holds the server up"


def events_of(answer: http.client.HTTPResponse) -> Iterator[Any]:
    """The data of each event."""
    while line := answer.readline():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def allowed() -> None:
    """They may."""


def test_only_who_may_read_hosts_may_follow(authority: Authority) -> None:
    host = authority.create_token(Name("web-1"), ["host"], DAY, ACTOR, NOW, Name("web-1"))
    publisher = authority.create_token(Name("ci"), ["publisher"], DAY, ACTOR, NOW)
    with Live(authority) as live:
        refusal(live.ask("GET", "/v1/events"), 401, "auth.token")
        refusal(live.ask("GET", "/v1/events", host), 403, "auth.role")
        refusal(live.ask("GET", "/v1/events", publisher), 403, "auth.role")
        refusal(live.ask("POST", "/v1/events", host), 405, "request.unknown")


def test_coverage_climbs_before_the_eyes_of_security_staff(authority: Authority) -> None:
    auditor = authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW)
    said(authority, claim("a"), claim("b"))
    with Serving(authority) as serving, closing(http.client.HTTPConnection(*serving.at, timeout=20)) as connection:
        connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {auditor}"})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["x-accel-buffering"] == "no"
        told = events_of(answer)
        assert next(told)["enforcing"] == 2
        seq = revoke(authority, "x")
        first = next(told)
        assert (first["seq"], first["enforcing"], first["lagging"]) == (seq, 0, ["a", "b"])
        said(authority, claim("a", seq=seq))
        assert next(told)["lagging"] == ["b"]
        serving.server.should_exit = True
        assert list(told) == []


def test_who_may_follow_no_more_hears_no_more(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was taken back, though its stream was open before."""
    monkeypatch.setattr("crl_server.api.events.JUDGED", 0.05)
    auditor = authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW)
    with Serving(authority) as serving, closing(http.client.HTTPConnection(*serving.at, timeout=20)) as connection:
        connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {auditor}"})
        told = events_of(connection.getresponse())
        next(told)
        revoke(authority, "x")
        assert next(told)["seq"] == 1
        authority.revoke_token(Name("auditor"), ACTOR, NOW)
        assert list(told) == []


def test_nobody_has_the_streams_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crl_server.api.events.MAX_EACH", 2)

    async def run() -> None:
        events = Events(lambda: b"{}", look=0.01)
        own = [await events.open("a", allowed) for _ in range(2)]
        with pytest.raises(Refused) as caught:
            await events.open("a", allowed)
        assert caught.value.code == "request.rate"
        await events.open("b", allowed)
        await own[0].aclose()  # type: ignore[attr-defined]
        await events.open("a", allowed)

    asyncio.run(run())


def test_more_streams_than_it_may_hold_are_refused() -> None:
    async def run() -> None:
        events = Events(lambda: b"{}", look=0.01, limit=1)
        stream = await events.open("a", allowed)
        assert await anext(stream) == b"event: coverage\ndata: {}\n\n"
        with pytest.raises(Refused) as caught:
            await events.open("b", allowed)
        assert caught.value.code == "server.streams"
        events.close()
        assert [event async for event in stream] == []
        with pytest.raises(Refused):
            await events.open("a", allowed)

    asyncio.run(run())


def test_a_database_that_cannot_be_read_for_a_moment_is_no_news() -> None:
    answers: list[bytes | Exception] = [b"1", Unreachable("io.failed", "busy"), b"2"]

    def read() -> bytes:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def run() -> None:
        events = Events(read, look=0.001)
        stream = await events.open("a", allowed)
        assert [await anext(stream), await anext(stream)] == [b"event: coverage\ndata: %d\n\n" % n for n in (1, 2)]
        events.close()

    asyncio.run(run())


def test_a_long_silence_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crl_server.api.events.PING", 0.05)

    async def run() -> None:
        stream = await Events(lambda: b"{}", look=0.01).open("a", allowed)
        assert [await anext(stream), await anext(stream)] == [b"event: coverage\ndata: {}\n\n", b":\n\n"]

    asyncio.run(run())
