"""What is answered at the door is answered as the application behind it would, and whatever else is handed to that.

On one engine: files are answered, and no database is asked.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from crl_server.api.app import create_app
from crl_server.api.static import with_shelf
from crl_server.layout import Layout
from crl_server.lists.public_files import IMMUTABLE, kind_of
from crl_server.lists.wholeness import Wholeness
from crl_server.operating.instruments import Instruments
from crl_server.operating.request_context import observed
from crl_server.processes.doorway import MAX_REQUEST, Doorway, understood
from crl_server.processes.shelf import Asked, Shelf
from crl_server.service import Authority
from tests.crl_server.deployments import NOW, made, revoke
from tests.crl_server.live import listen
from tests.waiting import until
from verifier.files import write_atomic
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex

CONTENT = b"x" * 300_000
LARGE = sha256_hex(CONTENT)
HEAD = "/lists/head.json"


class Serving:
    """A real server: behind the doorway, behind the shelf alone, or the application as it is."""

    def __init__(
        self, authority: Authority, front: str, listening: socket.socket | None = None, **options: Any
    ) -> None:
        self.instruments = Instruments()
        app: Any = create_app(authority, lambda: NOW, instruments=self.instruments)
        self.wholeness = app.state.wholeness
        self.shelf = Shelf(authority.layout.public, self.wholeness)
        self.doorway = Doorway(self.shelf, self.instruments)
        application = observed(with_shelf(app, self.shelf) if front != "none" else app, self.instruments)
        http: Any = self.doorway.protocol if front == "doorway" else "httptools"
        config = uvicorn.Config(application, http=http, log_config=None, server_header=False, **options)
        self.server = uvicorn.Server(config)
        self._socket = listening or listen()
        self._thread = threading.Thread(target=self.server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.shelf.close()
        self._socket.close()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()
        return host, port

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def connected(self) -> int:
        """How many connections there are."""
        return len(self.server.server_state.connections)

    def fronted(self) -> int:
        """How many connections have not been handed to uvicorn."""
        connections = list(self.server.server_state.connections)
        return sum(type(found).__module__ == "crl_server.processes.doorway" for found in connections)

    def answered(self, method: str, status: int) -> int:
        """How many answers of the tree are counted."""
        labels = {"method": method, "route": "/{path:path}", "status": str(status)}
        return int(self.instruments.registry.get_sample_value("loadlock_http_requests_total", labels) or 0)


class Answered:
    """One answer, read off a connection that stays open."""

    def __init__(self, stream: Any, *, bare: bool = False) -> None:
        self.status = int(stream.readline().split()[1])
        lines = [line.decode() for line in iter(stream.readline, b"\r\n")]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(self.headers.get("content-length", 0))
        self.body = b"" if bare or self.status == 304 else stream.read(length)

    @property
    def lasting(self) -> tuple[int, dict[str, str], bytes]:
        """What does not differ from one request to the next."""
        return self.status, {k: v for k, v in self.headers.items() if k not in ("date", "x-request-id")}, self.body


def request(target: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    authority = made(tmp_path_factory.mktemp("doorway") / "acme")
    revoke(authority, "first")
    authority.layout.list_file("bases", Hex(LARGE)).write_bytes(CONTENT)
    yield authority
    authority.close()


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[dict[str, Serving]]:
    with ExitStack() as stack:
        found = {front: stack.enter_context(Serving(authority, front)) for front in ("none", "shelf", "doorway")}
        for name in held(authority):
            if (kind := kind_of(name)) and kind.caching == IMMUTABLE:
                for server in found.values():
                    server.wholeness.check(name)
        yield found


def held(authority: Authority) -> list[str]:
    public = authority.layout.public
    names = [str(path.relative_to(public)) for path in public.rglob("*") if path.is_file()]
    return sorted(name for name in names if LARGE not in name)


def table(authority: Authority) -> dict[str, tuple[bytes, bool]]:
    """Requests, and whether the doorway answers them itself."""
    found: dict[str, tuple[bytes, bool]] = {}
    for name in held(authority):
        data = request(f"/{name}")
        found[f"GET {name}"] = data, True
        found[f"HEAD {name}"] = request(f"/{name}", method="HEAD"), True
    tag = f'"{sha256_hex(authority.layout.head.read_bytes())}"'
    segment = next(name for name in held(authority) if "/segments/" in name)
    own = f'"{segment.rpartition("/")[2]}"'
    for form in ("{}", "W/{}", '"x", {}', '"x",W/{}', "*", " * ", '"x"', '"x", *', "", "{}x", "x{}"):
        for condition, target in ((tag, HEAD), (own, f"/{segment}")):
            line = f"If-None-Match: {form.format(condition)}"
            found[f"{target} {line}"] = request(target, line), True
            found[f"HEAD {target} {line}"] = request(target, line, method="HEAD"), True
    for line, here in {
        "Accept: */*": True, "Connection: keep-alive": True, "If-Modified-Since: Sat, 01 Jan 2050 00:00:00 GMT": True,
        "Range: bytes=0-3": False, "Range: bytes=900000-": False, "X-Request-Id: abc": False, "Cookie: a=b": False,
        "Authorization: Bearer x": False, "If-None-Match: \"y\"\r\nIf-None-Match: *": False, "Expect: nothing": False,
        "If-Match: \"z\"": False, "Content-Length: 0": False, "X-Long: " + "x" * MAX_REQUEST: False,
    }.items():  # fmt: skip
        found[line] = request(f"/{segment}", line), here
    for target in (
        "//", "//lists/head.json", "/lists//head.json", "/lists/./head.json", "/lists/segments/../head.json",
        "/lists/head.json/", "/lists", "/lists/", "/LISTS/head.json", "/lists/head%2ejson", "/lists/head.json?x=1",
        "/lists/head.json%00", "/%2e%2e/deployment.json", "/../deployment.json", f"/lists/segments/{'0' * 64}",
        f"/lists/segments/{'A' * 64}", f"/lists/bases/{LARGE}", "/trust/metadata/2.root.json",
        "/trust/metadata/0.root.json", "/notes.txt", "/healthz", "/v1/plugins", "/v1/nothing", "/console/",
        "http://a/lists/head.json", "/sets/x.jsonl",
    ):  # fmt: skip
        found[f"GET {target}"] = request(target), False
        found[f"HEAD {target}"] = request(target, method="HEAD"), False
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get", "PATCH"):
        found[method] = request(HEAD, "Content-Length: 0", method=method), False
    return found


def test_the_door_answers_as_the_application_does(authority: Authority, servers: dict[str, Serving]) -> None:
    asked = table(authority)
    assert len(asked) > 100
    for label, (data, here) in asked.items():
        answers = {}
        for front, server in servers.items():
            with server.connect() as connection, connection.makefile("rb") as stream:
                connection.sendall(data)
                answers[front] = Answered(stream, bare=data.startswith(b"HEAD"))
                assert len(answers[front].headers.get("x-request-id", "")) in (3, 32) or answers[front].status == 400
        expected = answers["none"].lasting
        assert (answers["shelf"].lasting, answers["doorway"].lasting) == (expected, expected), label
        answered = servers["doorway"].doorway.answer(data, servers["doorway"].server.server_state)
        assert (answered is not None) == here, label


def test_entity_tags_are_those_that_were_given(authority: Authority, servers: dict[str, Serving]) -> None:
    with servers["doorway"].connect() as connection, connection.makefile("rb") as stream:
        for name in held(authority):
            connection.sendall(request(f"/{name}"))
            first = Answered(stream)
            assert (first.status, first.body) == (200, (authority.layout.public / name).read_bytes())
            connection.sendall(request(f"/{name}", f"If-None-Match: {first.headers['etag']}"))
            again = Answered(stream)
            assert (again.status, again.headers["etag"]) == (304, first.headers["etag"])
        assert servers["doorway"].fronted() == 1


def test_a_new_head_is_served_from_the_moment_it_is_published(tmp_path: Path) -> None:
    authority = made(tmp_path / "acme")
    with Serving(authority, "doorway") as server, server.connect() as connection, connection.makefile("rb") as stream:
        tag = '"none"'
        for number in range(20):
            connection.sendall(request(HEAD, f"If-None-Match: {tag}"))
            answer = Answered(stream)
            assert (answer.status, answer.body) == (200, authority.layout.head.read_bytes())
            tag = answer.headers["etag"]
            revoke(authority, number)
        authority.layout.head.unlink()
        connection.sendall(request(HEAD))
        assert Answered(stream).status == 404
    authority.close()


def test_requests_in_pieces_or_in_one_go_are_all_answered(servers: dict[str, Serving]) -> None:
    server = servers["doorway"]
    one = request(HEAD)
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(one + one + one)
        assert [Answered(stream).status for _ in range(3)] == [200, 200, 200]
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(one)
        whole = Answered(stream)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(one[:20])
        until(lambda: server.fronted() == 0)
        connection.sendall(one[20:])
        assert Answered(stream).lasting == whole.lasting


def test_a_connection_goes_on_after_it_was_handed_over(servers: dict[str, Serving]) -> None:
    server = servers["doorway"]
    with server.connect() as connection, connection.makefile("rb") as stream:
        for target, status, fronted in ((HEAD, 200, 1), ("/healthz", 200, 0), (HEAD, 200, 0), ("/nothing", 404, 0)):
            connection.sendall(request(target))
            assert (Answered(stream).status, server.fronted()) == (status, fronted)


def test_what_is_answered_at_the_door_is_counted(authority: Authority) -> None:
    with Serving(authority, "doorway") as server, server.connect() as connection, connection.makefile("rb") as stream:
        for data in (request(HEAD), request(HEAD), request(HEAD, "If-None-Match: *"), request(HEAD, method="HEAD")):
            connection.sendall(data)
            Answered(stream, bare=data.startswith(b"HEAD"))
        assert server.fronted() == 1
        until(lambda: server.answered("HEAD", 200) == 1)  # it is counted after it is sent
        assert (server.answered("GET", 200), server.answered("GET", 304)) == (2, 1)
        labels = {"method": "GET", "route": "/{path:path}"}
        assert server.instruments.registry.get_sample_value("loadlock_http_request_seconds_count", labels) == 3


def test_a_silent_connection_is_ended(authority: Authority) -> None:
    with Serving(authority, "doorway", timeout_keep_alive=1) as server, server.connect() as connection:
        stream = connection.makefile("rb")
        connection.sendall(request(HEAD))
        assert Answered(stream).status == 200
        assert stream.read() == b""
        stream.close()


def test_the_server_ends_though_a_connection_is_kept(authority: Authority) -> None:
    with Serving(authority, "doorway") as server, server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(request(HEAD))
        assert Answered(stream).status == 200
        server.server.should_exit = True
        assert stream.read() == b""


def test_where_there_is_no_uvloop_it_serves_all_the_same(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with Serving(authority, "doorway") as server, server.connect() as connection, connection.makefile("rb") as stream:
        for target, fronted in ((HEAD, 1), ("/healthz", 0), (HEAD, 0)):
            connection.sendall(request(target))
            assert (Answered(stream).status, server.fronted()) == (200, fronted)
        loops = {type(found.loop).__module__ for found in server.server.server_state.connections}
        assert loops == {"asyncio.unix_events"}


def test_who_does_not_read_is_not_written_to_without_end(authority: Authority) -> None:
    content = b"y" * 200_000
    path = authority.layout.list_file("segments", sha256_hex(content))
    path.write_bytes(content)
    with Serving(authority, "doorway") as server, server.connect() as connection, connection.makefile("rb") as stream:
        server.wholeness.check(f"lists/segments/{path.name}")
        sent = 1
        connection.sendall(request(f"/lists/segments/{path.name}"))
        until(lambda: server.answered("GET", 200) == 1)
        transport: Any = next(iter(server.server.server_state.connections))._transport  # type: ignore[union-attr]
        while transport.is_reading() and sent < 200:  # each by itself, as long as the one before was answered
            connection.sendall(request(f"/lists/segments/{path.name}"))
            sent += 1
            until(partial(lambda sent: server.answered("GET", 200) == sent or not transport.is_reading(), sent))
        assert sent < 200
        assert [Answered(stream).status for _ in range(sent)] == [200] * sent
    path.unlink()


PLAIN = request(HEAD)
WORDS = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b" ", b"/", HEAD.encode(), b"/a%2e", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r",
     b"Host: a", b"host:b", b"Content-Length: 5", b"Content-Length : 5", b"Transfer-Encoding: chunked", b"X: y", b"\t",
     b" folded", b"If-None-Match: *", b"Connection: close", b"Connection: keep-alive", b"Upgrade: x", b"\x00", b"\xff",
     b"hello", b"0\r\n\r\n", b":", b"X\x0b: y", b"Expect: 100-continue"]
)  # fmt: skip
LINES = st.lists(
    st.sampled_from(
        [b"Host: a", b"Accept: */*", b"If-None-Match: \"a\"", b"Content-Length: 3", b"Transfer-Encoding:chunked", b"A:",
         b"Connection: keep-alive", b"Connection: close", b"Host: b", b" x", b"B : c", b"C: \x7f", b"D:\td", b"E: \xe9"]
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=400)
@given(
    st.one_of(
        st.lists(WORDS, max_size=12).map(b"".join),
        LINES.map(lambda lines: b"\r\n".join([b"GET %s HTTP/1.1" % HEAD.encode(), *lines, b"", b""])),
        st.tuples(st.integers(0, 40), WORDS).map(lambda cut: PLAIN[: cut[0]] + cut[1] + PLAIN[cut[0] :]),
    )
)
def test_what_is_understood_is_what_uvicorns_parser_understands(data: bytes) -> None:
    """Nobody can write a request that is one thing here and another thing there."""
    asked = understood(data)
    if asked is None:
        return

    class Found:
        """What httptools calls."""

        def __init__(self) -> None:
            self.url, self.complete, self.body = b"", 0, b""

        def on_url(self, url: bytes) -> None:
            self.url += url

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            self.complete += 1

    found = Found()
    parser = httptools.HttpRequestParser(found)
    parser.feed_data(data)
    assert (found.complete, found.body, found.url.decode()) == (1, b"", f"/{asked.name}")
    assert parser.get_method() == (b"HEAD" if asked.bare else b"GET")
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
    assert parser.get_http_version() == "1.1"


def test_a_plain_request_is_understood() -> None:
    asked = understood(request(HEAD, 'If-None-Match: W/"a", "b"', "User-Agent: x/1"))
    assert asked is not None
    assert asked == Asked("lists/head.json", False, frozenset({'"a"', '"b"'}))


def test_the_shelf_holds_no_more_than_it_may(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    wholeness = Wholeness(layout)
    shelf = Shelf(layout.public, wholeness, largest=1000, total=3000)

    def segment(content: bytes) -> Asked:
        path = layout.list_file("segments", sha256_hex(content))
        if not path.exists():
            write_atomic(path, content)
        name = f"lists/segments/{path.name}"
        wholeness.check(name)
        return Asked(name, False, frozenset())

    for letter in b"abcdeabcde":
        content = bytes([letter]) * 1000
        answer = shelf.answer(segment(content))
        assert answer is not None
        assert answer.body == content
        assert sum(len(found.whole.body) for found in shelf._held.values()) <= 3000
    assert shelf.answer(segment(b"f" * 1001)) is None
    shelf.close()


def test_no_other_file_is_given_the_number_of_the_one_that_is_held(tmp_path: Path) -> None:
    """On a system whose clock ticks slowly, size and time of two heads can be the same."""
    layout = Layout(tmp_path)
    head, shelf = layout.head, Shelf(layout.public, Wholeness(layout))
    asked = Asked("lists/head.json", False, frozenset())
    write_atomic(head, b"first")
    assert shelf.answer(asked) is not None
    number = head.stat().st_ino
    before = len(os.listdir("/proc/self/fd"))
    for count in range(50):
        write_atomic(head, b"%05d" % count)
        write_atomic(head.with_name("other"), b"other")
        assert number not in (head.stat().st_ino, head.with_name("other").stat().st_ino)
    answer = shelf.answer(asked)
    assert answer is not None
    assert (answer.body, len(os.listdir("/proc/self/fd"))) == (b"00049", before)
    shelf.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
