"""The client of the service's API against a server that misbehaves: it ends, and with a clean error."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loadlock.testing.loopback import Answer, Loopback, status
from tests.hosts import code_of
from tests.verifier.test_transport import never_beginning
from verifier.refreshing import api_client

TOKEN = "a" * 20


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback


CALLS: dict[str, Callable[[str], Any]] = {
    "get": lambda address: api_client.get(address, "/x", TOKEN),
    "fetch": lambda address: api_client.fetch(address, "/x", TOKEN),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        never_beginning(),
        never_beginning(b"HTTP/1.1 200 OK\r\nX: "),
        never_beginning(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n"),
        never_beginning(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 900000\r\n\r\n"),
    ],
    ids=["status", "field", "body", "refusal"],
)
def test_an_answer_that_trickles_is_given_up(
    server: Loopback, answer: Answer, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_client, "DEADLINE", 0.05)
    server.lies["x"] = answer
    assert code_of(lambda: CALLS[call](server.url)) == "unreachable.server"


def test_a_compressed_answer_is_not_unpacked(server: Loopback) -> None:
    bomb = gzip.compress(b'{"a":"' + bytes(1000) + b'"}')
    server.lies["x"] = status(200, bomb, Content_Encoding="gzip")
    assert api_client.fetch(server.url, "/x", TOKEN) == bomb
    assert code_of(lambda: CALLS["get"](server.url)) == "format.encoding"


def test_an_answer_beyond_its_cap_is_refused(server: Loopback) -> None:
    server.lies["x"] = status(200, b'"' + b"x" * api_client.MAX_ANSWER)
    assert code_of(lambda: CALLS["get"](server.url)) == "format.too-large"


@pytest.mark.parametrize("answer", [status(302, b"", Location="/y"), status(204), status(404), status(500, b"no JSON")])
def test_what_is_no_answer_is_an_error(server: Loopback, answer: Answer) -> None:
    server.lies["x"] = answer
    server.files["y"] = b"{}"
    assert code_of(lambda: CALLS["get"](server.url)) in ("server.refused", "unreachable.server")
