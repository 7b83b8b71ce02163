"""Connections that bring no request, or never the end of one: anybody can make them, and they must not add up.

On one engine: no database is asked.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from crl_server.operating import serving
from crl_server.processes import arrival
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, DAY, NOW, made, revoke
from tests.crl_server.test_doorway import HEAD, Answered, Serving, request
from tests.waiting import until
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex, Name

CHUNKED = b"POST /v1/revocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTENT = b"x" * 8_000_000
LARGE = sha256_hex(CONTENT)
BASE = f"/lists/bases/{LARGE}"
PART = b"GET /v1/revocations HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    authority = made(tmp_path_factory.mktemp("arrival") / "acme")
    yield authority
    authority.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waits a tenth of a second."""
    monkeypatch.setattr(arrival, "PATIENCE", 0.1)


@pytest.fixture(params=["doorway", "traced"])
def server(request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """With a door, and where every connection is uvicorn's from its begin."""
    if request.param == "traced":
        monkeypatch.setattr("crl_server.processes.doorway.tracing.wanted", lambda: True)
    with Serving(authority, "doorway", timeout_keep_alive=60) as server:
        yield server


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    found = b""
    with suppress(ConnectionError):
        while more := connection.recv(65_536):
            found += more
    return found


@pytest.mark.usefixtures("hurried")
def test_a_connection_that_brings_no_request_is_ended(server: Serving) -> None:
    with ExitStack() as stack:
        opened = []
        for begin in (b"", b"G", PART, PART + b"X: ", b"\r\n"):
            opened.append(stack.enter_context(server.connect()))
            opened[-1].sendall(begin)
        assert [rest_of(connection) for connection in opened] == [b""] * len(opened)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("first", [HEAD, "/healthz"])
def test_so_is_one_that_trickles_the_next_request(server: Serving, first: str) -> None:
    """Each byte would begin the wait of a kept connection anew."""
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(request(first))
        assert Answered(stream).status == 200
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")

        def ended() -> bool:
            try:
                connection.sendall(b"x")
                connection.setblocking(False)
                return connection.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            finally:
                connection.settimeout(20)

        until(ended)


def test_a_head_without_an_end_fills_no_memory(server: Serving) -> None:
    """Nor do trailers, nor what may stand beside the length of a chunk."""
    for begin in (PART, b"GET /" + b"x" * 1000, CHUNKED + b"1\r\nx\r\n0\r\n", CHUNKED + b"1;"):
        with server.connect() as connection:
            connection.sendall(begin)
            sent = 0
            with suppress(ConnectionError):
                while sent < 64 * arrival.MAX_HEAD:
                    line = b"X-%d: %s\r\n" % (sent, b"x" * 4000) if begin.endswith(b"\n") else b"x" * 4000
                    connection.sendall(line)
                    sent += len(line)
            assert sent < 64 * arrival.MAX_HEAD, "it would have gone on for ever"
            assert b" 200 " not in rest_of(connection)


def test_it_is_told_what_was_too_much(server: Serving) -> None:
    with server.connect() as connection:
        connection.sendall(PART + b"X: " + b"x" * arrival.MAX_HEAD)
        assert rest_of(connection) == arrival.TOO_LARGE


def test_a_body_in_many_small_pieces_is_a_body(server: Serving) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(CHUNKED + b"1\r\nx\r\n" * (arrival.MAX_HEAD // 2) + b"0\r\n\r\n")
        assert Answered(stream).status == 401


@pytest.mark.parametrize("front", ["doorway", "none"])
@pytest.mark.parametrize("asked", [HEAD, BASE])
def test_whoever_takes_no_answers_is_ended(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, front: str, asked: str
) -> None:
    """Wherever the answers wait: in front, in uvicorn, in the system after all has been said."""
    monkeypatch.setattr(serving, "UNTAKEN", 0.5)
    authority.layout.list_file("bases", Hex(LARGE)).write_bytes(CONTENT)
    with Serving(authority, front, serving.listen("127.0.0.1", 0)) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(request(asked))
        until(lambda: server.connected() == 1)
        connection.setblocking(False)
        with suppress(BlockingIOError, ConnectionError):
            while True:
                connection.send(request(asked))
        until(lambda: server.connected() == 0)


@pytest.mark.usefixtures("hurried")
def test_a_stream_is_not_ended_though_nothing_arrives_on_it(authority: Authority, server: Serving) -> None:
    secret = authority.create_token(Name(f"auditor-{id(server)}"), ["auditor"], DAY, ACTOR, NOW)
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(request("/v1/events", f"Authorization: Bearer {secret}"))
        until(lambda: stream.readline().startswith(b"event: coverage"))
        with server.connect() as silent:
            assert rest_of(silent) == b""
        revoke(authority, id(server))
        until(lambda: stream.readline().startswith(b"event: coverage"))
