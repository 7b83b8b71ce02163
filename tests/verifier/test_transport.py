"""The HTTP client against a real server that misbehaves: a clean error each time, and the next request still works."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from loadlock.testing.loopback import Answer, Loopback, status
from tests.deploy.nginx import certificate
from verifier.errors import FormatError, LoadlockError, Unreachable, UsageError
from verifier.refreshing.transport import ERROR_LIMIT, Transport


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        loopback.files["x"] = b"content"
        yield loopback


def raw(*parts: bytes) -> Answer:
    """An answer of exactly these bytes, after which the server hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.log_request(200)
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
        handler.close_connection = True

    return answer


@contextmanager
def trickler() -> Iterator[str]:
    """A server that answers everybody a byte at a time; its address."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.recv(4096)
                    while True:
                        connection.sendall(b"H")
                        time.sleep(0.005)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(b"x" * 65_536)


def trickling(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        handler.wfile.flush()


def never_beginning(*first: bytes) -> Answer:
    """An answer whose fields never end, as fast as they are taken."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.log_request(200)
        handler.close_connection = True
        with suppress(OSError):
            for part in first:
                handler.wfile.write(part)
            while True:
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.005)

    return answer


def continuing(handler: BaseHTTPRequestHandler) -> None:
    handler.log_request(100)
    handler.close_connection = True
    with suppress(OSError):
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def refused(transport: Transport, limit: int = 100) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        transport.get("/x", limit)
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        raw(b""),
        raw(b"not HTTP at all\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 500 + b"\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        status(204),
        status(206, b"part"),
        status(302, b"", Location="/y"),
        status(404, b"no"),
        status(500, b"no"),
    ],
)
def test_an_answer_that_is_no_answer_is_unreachable(server: Loopback, answer: Answer) -> None:
    transport = Transport(server.url)
    server.lies["x"] = answer
    error = refused(transport)
    assert isinstance(error, Unreachable)
    assert error.code == "unreachable.server"
    del server.lies["x"]
    assert transport.get("/x", 100).body == b"content"


def test_why_nobody_answered_is_said(server: Loopback) -> None:
    server.lies["x"] = raw(b"")
    assert refused(Transport(server.url)).found == "it hung up (for /x)"
    assert refused(Transport(server.url.replace("http:", "https:"))).found.startswith("it does not speak TLS")
    assert refused(Transport("https://nobody.invalid")).found.endswith("(for /x)")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert refused(Transport(address)).found == "Connection refused (for /x)"


def test_a_certificate_that_is_not_trusted_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(4):  # each request is tried once more
                with suppress(OSError), listening.accept()[0] as made:
                    context.wrap_socket(made, server_side=True).close()

        serving = threading.Thread(target=serve)
        serving.start()
        address = f"https://127.0.0.1:{listening.getsockname()[1]}"
        error = refused(Transport(address))
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        believed = refused(Transport(address))
        serving.join()
    assert error.found.startswith("its certificate is not trusted: ")
    assert "SSL_CERT_FILE" in error.todo
    assert believed.found == "it hung up (for /x)"


@pytest.mark.parametrize("answer", [status(200, b"x" * 101), endless])
def test_a_body_beyond_its_cap_is_given_up(server: Loopback, answer: Answer) -> None:
    transport = Transport(server.url)
    server.lies["x"] = answer
    error = refused(transport)
    assert isinstance(error, FormatError)
    assert error.code == "format.too-large"
    del server.lies["x"]
    assert transport.get("/x", 100).body == b"content"


def test_a_body_of_exactly_the_cap_is_taken(server: Loopback) -> None:
    assert Transport(server.url).get("/x", 7).body == b"content"


def test_an_endless_error_page_is_given_up(server: Loopback) -> None:
    server.lies["x"] = status(500, b"x" * (ERROR_LIMIT + 1))
    assert refused(Transport(server.url)).code == "format.too-large"


def test_a_body_that_trickles_beyond_the_deadline_is_given_up(server: Loopback) -> None:
    server.lies["x"] = trickling
    assert refused(Transport(server.url, deadline=0.05), limit=10**9).code == "unreachable.server"


NEVER = [never_beginning(), never_beginning(b"HTTP/1.1 200 OK\r\nX: "), continuing]


@pytest.mark.parametrize("answer", NEVER, ids=["status", "field", "continue"])
def test_an_answer_that_does_not_begin_in_time_is_given_up(server: Loopback, answer: Answer) -> None:
    transport = Transport(server.url, deadline=0.05)
    transport.get("/x", 100)
    server.lies["x"] = answer
    for etag in (None, '"poll"'):
        with pytest.raises(Unreachable) as caught:
            transport.request("/x", 100, etag)
        assert caught.value.code == "unreachable.server"
    with pytest.raises(Unreachable):
        transport.stream("/x")
    del server.lies["x"]
    assert transport.get("/x", 100).body == b"content"


def test_an_answer_through_a_proxy_begins_in_time_or_not_at_all(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, server.url)
    server.lies["x"] = never_beginning()
    assert refused(Transport("http://host.example", deadline=0.05)).code == "unreachable.server"
    with trickler() as address:  # as the answer to CONNECT
        monkeypatch.setenv("HTTPS_PROXY", address)
        assert refused(Transport("https://host.example", deadline=0.05)).code == "unreachable.server"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "http://", "http://[::1", "http://[::1]:x", "http://host.invalid", "https://127.0.0.1:1"],
)
def test_an_address_where_nobody_answers_is_unreachable(url: str) -> None:
    assert refused(Transport(url)).code == "unreachable.server"


@pytest.mark.parametrize("url", ["ftp://host.example", "file:///etc/passwd", "host.example", ""])
def test_an_address_of_another_scheme_is_a_mistake(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Transport(url)
    assert caught.value.code == "usage.arguments"


def test_a_compressed_body_is_not_unpacked(server: Loopback) -> None:
    bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    server.lies["x"] = status(200, bomb, Content_Encoding="gzip")
    assert Transport(server.url).get("/x", 100).body == bomb


def test_a_condition_that_holds_gives_304_and_no_body(server: Loopback) -> None:
    transport = Transport(server.url)
    first = transport.get("/x", 100)
    assert first.etag
    second = transport.get("/x", 100, first.etag)
    assert (second.status, second.body) == (304, b"")


def test_one_connection_is_kept_alive_also_across_errors(server: Loopback) -> None:
    transport = Transport(server.url + "/")
    for path in ("/x", "/absent", "/x"):
        transport.request(path, 100)
    assert len(server.sockets) == 1


def test_a_connection_that_was_cut_is_made_again(server: Loopback) -> None:
    transport = Transport(server.url)
    transport.get("/x", 100)
    server.sockets[0].close()
    assert transport.get("/x", 100).body == b"content"


def test_a_forked_child_uses_a_connection_of_its_own(server: Loopback) -> None:
    script = """
import os, sys
from verifier.refreshing.transport import Transport
transport = Transport(sys.argv[1])
transport.get("/x", 100)
if os.fork() == 0:
    transport.get("/x", 100)
    os._exit(0)
os.wait()
transport.get("/x", 100)
"""
    subprocess.run([sys.executable, "-c", script, server.url], timeout=30, check=True)
    assert len(server.log) == 3
    assert len(server.sockets) == 2
