"""Polls: what is taken of an answer is what the usual way would take, and what is not plain is left to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.util.url import parse_url

from loadlock.testing.loopback import Answer, Loopback, status
from tests.deploy.nginx import certificate
from tests.waiting import until
from verifier.errors import LoadlockError
from verifier.refreshing.poll import Poll, read_plain
from verifier.refreshing.source import Response
from verifier.refreshing.transport import Transport

OLD, BODY = '"old"', b"content"
OK, SAME = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 304 Not Modified\r\n"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        loopback.files["x"] = BODY
        yield loopback


def poll_of(address: str) -> Poll:
    return Poll(parse_url(address), {"User-Agent": "test"}, connect=5.0, read=5.0)


def asked(poll: Poll, etag: str = OLD, target: str = "/x", limit: int = 100, end: float = math.inf) -> Response | None:
    return poll.ask(target, etag, limit, end)


def exactly(*parts: bytes, close: bool = False) -> Answer:
    """An answer of exactly these bytes, after which the server hangs up or does not."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
        handler.log_request(200)
        handler.close_connection = close

    return answer


# -- what is understood ------------------------------------------------------------------------------------------------


def test_a_file_and_then_that_it_is_unchanged(server: Loopback) -> None:
    poll = poll_of(server.url)
    first = asked(poll)
    assert first is not None
    assert (first.status, first.body) == (200, BODY)
    assert first.etag
    for _ in range(3):
        assert asked(poll, first.etag) == (304, b"", first.etag)
    server.files["x"] = b"another"
    changed = asked(poll, first.etag)
    assert changed is not None
    assert (changed.status, changed.body) == (200, b"another")
    assert len(server.sockets) == 1


def test_a_body_may_come_in_pieces(server: Loopback) -> None:
    server.lies["x"] = exactly(OK + b'ETag: "a"\r\ncontent-LENGTH: 7\r\n\r\nco', b"nten", b"t")
    assert asked(poll_of(server.url)) == (200, BODY, '"a"')


def test_a_transport_polls_over_one_connection_and_asks_for_the_rest_over_another(server: Loopback) -> None:
    transport = Transport(server.url)
    etag = transport.get("/x", 100).etag
    for _ in range(3):
        assert transport.get("/x", 100, etag) == (304, b"", etag)
        assert transport.get("/x", 100).body == BODY
    assert len(server.sockets) == 2


def test_a_server_below_a_path_is_polled_there(server: Loopback) -> None:
    server.files["below/x"] = BODY
    transport = Transport(f"{server.url}/below/")
    etag = transport.get("/x", 100).etag
    assert transport.get("/x", 100, etag) == (304, b"", etag)
    assert server.paths() == ["below/x"] * 2


# -- what is left to the usual way -------------------------------------------------------------------------------------

NOT_PLAIN = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "another version": SAME.replace(b"1.1", b"1.0") + b"\r\n",
    "another status": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "moved": b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + SAME + b"\r\n",
    "no length": OK + b"\r\ncontent",
    "two lengths": OK + b"Content-Length: 7\r\nContent-Length: 7\r\n\r\ncontent",
    "lengths in one": OK + b"Content-Length: 7, 7\r\n\r\ncontent",
    "a signed length": OK + b"Content-Length: +7\r\n\r\ncontent",
    "a space before the colon": OK + b"Content-Length : 7\r\n\r\ncontent",
    "a folded line": OK + b"Content-Length:\r\n 7\r\n\r\ncontent",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n0\r\n\r\n",
    "chunks and a length": OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n0\r\n\r\n",
    "chunks unchanged": SAME + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": SAME.replace(b"\r", b"") + b"\n",
    "a bare line feed in a field": SAME + b"X: a\nContent-Length: 7\r\n\r\n",
    "beyond ASCII": SAME + "ETag: \"ä\"\r\n\r\n".encode(),
    "more than the body": OK + b"Content-Length: 7\r\n\r\ncontent!",
    "a body unchanged": SAME + b"\r\ncontent",
    "two answers": SAME + b"\r\n" + SAME + b"\r\n",
    "beyond the cap": OK + b"Content-Length: 101\r\n\r\n" + b"x" * 101,
    "an enormous length": OK + b"Content-Length: " + b"9" * 13 + b"\r\n\r\n",
    "fields without an end": SAME + b"X: a\r\n" * 20_000,
}  # fmt: skip


@pytest.mark.parametrize("answer", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_not_plain_is_not_taken_and_ends_the_connection(server: Loopback, answer: bytes) -> None:
    poll = poll_of(server.url)
    server.lies["x"] = exactly(answer, close=not answer)
    assert asked(poll) is None
    del server.lies["x"]
    answered = asked(poll)
    assert answered is not None
    assert answered.body == BODY
    assert len(server.sockets) == 2


def outcome(transport: Transport, etag: str) -> Response | str:
    try:
        return transport.get("/x", 100, etag)
    except LoadlockError as error:
        return error.code


@pytest.mark.parametrize("answer", [*NOT_PLAIN.values(), SAME + b"\r\n", OK + b"Content-Length: 7\r\n\r\ncontent"])
def test_a_transport_says_of_any_answer_what_it_would_say_without_polls(server: Loopback, answer: bytes) -> None:
    server.lies["x"] = exactly(answer, close=True)
    polling, usual = Transport(server.url), Transport(server.url)
    assert outcome(polling, OLD) == outcome(usual, "\u00e9")  # a tag that no poll asks about


def test_a_body_that_breaks_off_or_takes_too_long_is_not_taken(server: Loopback) -> None:
    begun = OK + b"Content-Length: 9\r\n\r\n"
    server.lies["x"] = exactly(begun, b"cont", close=True)
    assert asked(poll_of(server.url)) is None
    server.lies["x"] = exactly(begun, *[b"c"] * 8)
    assert asked(poll_of(server.url), end=0.0) is None


@pytest.mark.parametrize(("target", "etag"), [
    ("/x", '"a"\r\nX: y'), ("/x", '"a\n"'), ("/x", '"é"'),
    ("/x y", OLD), ("/x\r\nX: y", OLD), ("/x\x00", OLD), ("/é", OLD),
])  # fmt: skip
def test_nothing_can_be_put_into_a_question(server: Loopback, target: str, etag: str) -> None:
    assert asked(poll_of(server.url), etag, target) is None
    assert server.sockets == []


def test_what_a_server_says_unasked_is_no_answer(server: Loopback) -> None:
    poll, goes_on = poll_of(server.url), threading.Event()

    def twice(handler: BaseHTTPRequestHandler) -> None:
        exactly(SAME + b"\r\n")(handler)
        goes_on.wait(60)
        exactly(SAME + b"\r\n")(handler)

    server.lies["x"] = twice
    assert asked(poll) == (304, b"", None)
    goes_on.set()
    until(lambda: len(server.log) == 2)
    del server.lies["x"]
    answered = asked(poll)
    assert answered is not None
    assert answered.body == BODY


def test_a_connection_that_was_cut_is_made_again(server: Loopback) -> None:
    poll = poll_of(server.url)
    asked(poll)
    server.sockets[0].shutdown(socket.SHUT_RDWR)
    answered = None
    for _ in range(2):  # whether the end is seen before or after asking is the system's choice
        answered = answered or asked(poll)
    assert answered is not None


def test_who_asks_meanwhile_goes_the_usual_way(server: Loopback) -> None:
    poll, heard, goes_on = poll_of(server.url), threading.Event(), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        heard.set()
        goes_on.wait(60)
        status(304)(handler)

    server.lies["x"] = slow
    found: list[Response | None] = []
    thread = threading.Thread(target=lambda: found.append(asked(poll)))
    thread.start()
    assert heard.wait(60)
    assert asked(poll) is None
    goes_on.set()
    thread.join(60)
    assert found == [(304, b"", None)]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://host.invalid"])
def test_where_nobody_answers_only_the_usual_way_can_tell(address: str) -> None:
    assert asked(poll_of(address)) is None


# -- TLS ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def encrypted(files: tuple[Path, Path]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each connection once with 304, its address and what it was asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                with listening.accept()[0] as raw, context.wrap_socket(raw, server_side=True) as connection:
                    heard.append(connection.recv(65_536))
                    connection.sendall(SAME + b"\r\n")
            except ssl.SSLError:  # the client did not like the certificate
                continue
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}", heard
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_a_server_without_a_trusted_certificate_is_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = certificate(tmp_path)
    with encrypted(files) as (address, heard):
        assert asked(poll_of(address)) is None
        assert heard == []
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        assert asked(poll_of(address.replace("127.0.0.1", "localhost"))) is None  # the certificate is another name's
        assert heard == []
        assert asked(poll_of(address)) == (304, b"", None)
        assert len(heard) == 1


# -- beside the standard library's reading -----------------------------------------------------------------------------


class _Said:
    """A connection over which something has been said."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


LINES = st.lists(
    st.sampled_from([
        b"Content-Length: 7", b"content-length:007", b"Content-Length: 8", b"Content-Length: ", b"Content-Length 7",
        b"ETag: \"a\"", b"etag:\"b\" ", b"Transfer-Encoding: chunked", b"X: y", b" folded", b"X-Content-Length: 9",
        b"Connection: close", b"X: a\nContent-Length: 3", b"X\x00: y", b"", b"Content-Length:\t7\t",
    ]), max_size=4,
)  # fmt: skip


@given(st.sampled_from([OK, SAME]), LINES)
@settings(max_examples=300, deadline=None)
def test_what_is_plain_is_read_as_the_standard_library_reads_it(first: bytes, lines: list[bytes]) -> None:
    said = first + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + BODY
    plain = read_plain(said)
    if plain is None:
        return
    connection: Any = _Said(said)
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert (plain.status, plain.length) == (response.status, response.length)
    assert (plain.etag or "") == response.headers.get("ETag", "").strip()
    if plain.length == len(BODY):
        assert said[plain.start :][: plain.length] == response.read()
