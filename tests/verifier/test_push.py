"""The push stream, from a real server that lies: what it brings is judged like anything else, or comes to nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from loadlock.testing.loopback import Answer, Loopback, status
from tests.hosts import HostedDeployment
from tests.live_deployment import LiveDeployment, digest
from verifier.errors import FormatError, PluginRevoked, Refused, Unreachable
from verifier.formats.push import MAX_LINE, Announcement, dump_announcement
from verifier.formats.text import Hex
from verifier.refreshing import push, transport
from verifier.refreshing.push import Listener, announcements
from verifier.refreshing.refresh import Refresher
from verifier.refreshing.transport import Transport

PATIENCE = 20.0
"""Seconds within which a background thread must have done its work; never reached when all is well."""
STREAM = "v1/stream"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def host(live: LiveDeployment, tmp_path: Path) -> Refresher:
    host = live.host(tmp_path / "host")
    host.refresh(live.now)
    live.server.paths()
    return host


def stream(*pieces: bytes, until: threading.Event | None = None) -> Answer:
    """An answer that sends pieces and then waits before it ends."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
        if until is not None:
            until.wait(PATIENCE)
        handler.close_connection = True

    return answer


def event(data: bytes, kind: str = "list") -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + data + b"\n\n"


def heard(server: Loopback) -> list[Announcement]:
    opened = Transport(server.url).stream("/" + STREAM)
    try:
        return list(announcements(opened))
    finally:
        opened.close()


# -- the stream --------------------------------------------------------------------------------------------------------


def test_only_announcements_mean_anything(server: Loopback) -> None:
    first, second = Announcement(b"one", b""), Announcement(b"two", bytes(16))
    lines = [
        b":\n\n", b"retry: 1\n\n", event(b"{}", "gossip"), b"data: {}\n\n", b"event: list\n\n",
        b"id: 1.1\n" + event(dump_announcement(first)), event(dump_announcement(second)).replace(b"\n", b"\r\n"),
        b"event: list\ndata: half",
    ]  # fmt: skip
    server.lies[STREAM] = stream(b"".join(lines))
    assert heard(server) == [first, second]


def test_pieces_may_come_in_any_size(server: Loopback) -> None:
    announcement = Announcement(b"head", bytes(32))
    text = event(dump_announcement(announcement))
    server.lies[STREAM] = stream(*(text[at : at + 1] for at in range(len(text))))
    assert heard(server) == [announcement]


def test_a_long_line_may_come_a_byte_at_a_time(server: Loopback) -> None:
    """As chunks of one byte, a whole line costs whoever lies next to nothing: nor may it cost the host."""
    chunks = b"1\r\nx\r\n" * 250_000 + b"0\r\n\r\n"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        with suppress(OSError):  # nobody listens any more
            handler.wfile.write(chunks)
        handler.close_connection = True

    server.lies[STREAM] = answer
    opened = Transport(server.url).stream("/" + STREAM)
    try:
        with pytest.raises(FormatError) as caught:
            list(opened.lines(200_000))
    finally:
        opened.close()
    assert caught.value.code == "format.too-large"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", "format.syntax"),
        (b'{"v":2,"head":"AAAA","segment":""}', "format.schema"),
        (b'{"v":1,"head":"","segment":""}', "format.schema"),
        (b'{"v":1,"head":"AAAA"}', "format.schema"),
        (b'{"v":1,"head":"AAAA","segment":"","more":1}', "format.schema"),
        (b'{"v":1,"head":"AAAA","head":"AAAB","segment":""}', "format.duplicate-key"),
        (b'{"v":1,"head":"AAAAA","segment":""}', "format.base64"),
        (b'{"v":1,"head":"AA==AA==","segment":""}', "format.base64"),
        (b'{"v":1,"head":"AAAA","segment":"' + b"A" * 87_384 + b'"}', "format.too-large"),
        (b'{"v":1,"head":"' + b"A" * 1_398_104 + b'","segment":""}', "format.too-large"),
    ],
)
def test_a_malformed_announcement_is_refused(server: Loopback, data: bytes, code: str) -> None:
    server.lies[STREAM] = stream(event(data))
    with pytest.raises(FormatError) as caught:
        heard(server)
    assert caught.value.code == code


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_over_the_cap_is_refused(server: Loopback, end: bytes) -> None:
    server.lies[STREAM] = stream(b":" + b"x" * MAX_LINE + end)
    with pytest.raises(FormatError) as caught:
        heard(server)
    assert caught.value.code == "format.too-large"


def test_too_large_an_announcement_is_not_written() -> None:
    with pytest.raises(FormatError) as caught:
        dump_announcement(Announcement(b"head", bytes(65_552)))
    assert caught.value.code == "format.too-large"


def test_a_silent_stream_is_given_up(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SILENCE", 0.1)
    done = threading.Event()
    server.lies[STREAM] = stream(b":\n", until=done)
    with pytest.raises(Unreachable):
        heard(server)
    done.set()


@pytest.mark.parametrize("answer", [status(404), status(503), status(204), status(302, Location="/elsewhere")])
def test_any_other_status_is_no_stream(server: Loopback, answer: Answer) -> None:
    server.lies[STREAM] = answer
    with pytest.raises(Unreachable):
        heard(server)


# -- the listener ------------------------------------------------------------------------------------------------------


def test_a_stream_that_announces_nothing_is_a_failure(server: Loopback) -> None:
    server.lies[STREAM] = stream(b":\n\n")
    with pytest.raises(Unreachable):
        Listener(Transport(server.url), lambda announcement: None).follow()


def test_what_is_refused_ends_the_stream(server: Loopback) -> None:
    def refuse(announcement: Announcement) -> None:
        raise Refused("list.signature", "not by a head key")

    server.lies[STREAM] = stream(event(dump_announcement(Announcement(b"head", b""))), until=threading.Event())
    with pytest.raises(Refused):
        Listener(Transport(server.url), refuse).follow()


def test_it_listens_again_when_the_server_comes_back(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "PAUSE", 0.01)
    enough, found = threading.Event(), []

    def hear(announcement: Announcement) -> None:
        found.append(announcement.head)
        if len(found) == 3:
            enough.set()

    server.lies[STREAM] = stream(event(dump_announcement(Announcement(b"head", b""))))
    listener = Listener(Transport(server.url), hear)
    listener.start()
    assert enough.wait(PATIENCE)
    listener.stop()


def test_stopping_does_not_wait_for_the_stream(server: Loopback) -> None:
    begun, never = threading.Event(), threading.Event()
    server.lies[STREAM] = stream(event(dump_announcement(Announcement(b"head", b""))), until=never)
    listener = Listener(Transport(server.url), lambda announcement: begun.set())
    listener.start()
    assert begun.wait(PATIENCE)
    thread = listener._watcher._run
    listener.stop()
    assert thread is not None
    assert not thread.thread.is_alive()
    never.set()


# -- what is heard is judged -------------------------------------------------------------------------------------------


def announced(live: LiveDeployment, segment: bytes | None = None) -> Announcement:
    """What an honest server would push now."""
    newest = max(
        (data for (kind, _), data in live.documents.files.items() if kind == "segments"), key=len
    )  # the simulated server has one segment
    return Announcement(live.head, newest if segment is None else segment)


def test_a_pushed_head_is_adopted_without_a_request(live: LiveDeployment, host: Refresher) -> None:
    live.revoke(digest(3))
    live.server.files.clear()
    in_force = host.refresh(live.now, trust=False, offer=announced(live))
    assert in_force.revocations.lists(Hex(digest(3)))
    assert live.server.paths() == []
    assert Refresher(host.home).home.in_force(live.now).revocations.lists(Hex(digest(3)))


@pytest.mark.parametrize("segment", [b"", bytes(16)], ids=["none", "another"])
def test_a_segment_that_does_not_fit_is_fetched(live: LiveDeployment, host: Refresher, segment: bytes) -> None:
    live.revoke(digest(3))
    in_force = host.refresh(live.now, trust=False, offer=announced(live, segment))
    assert in_force.revocations.lists(Hex(digest(3)))
    assert [path.rpartition("/")[0] for path in live.server.paths()] == ["lists/segments"]


def test_a_forged_head_changes_nothing(live: LiveDeployment, host: Refresher) -> None:
    before = host.home.state()
    live.revoke(digest(3))
    forged = Announcement(live.head.replace(b'"sig":"', b'"sig":"AAAA', 1), b"")
    with pytest.raises((Refused, FormatError)):
        host.refresh(live.now, trust=False, offer=forged)
    assert host.home.state() == before


def test_an_older_head_is_no_news(live: LiveDeployment, host: Refresher) -> None:
    old = announced(live)
    live.revoke(digest(3))
    host.refresh(live.now)
    state = host.home.state()
    assert host.refresh(live.now, trust=False, offer=old).state == state
    assert host.home.state() == state


def test_a_cache_that_is_behind_the_stream_is_no_rollback(live: LiveDeployment, host: Refresher) -> None:
    old = live.head
    live.revoke(digest(3))
    host.refresh(live.now, trust=False, offer=announced(live))
    live.server.files["lists/head.json"] = old
    assert host.refresh(live.now, trust=False).revocations.lists(Hex(digest(3)))
    # Of a host that starts anew nobody knows what it was handed before: there it is one.
    with pytest.raises(Refused) as caught:
        Refresher(host.home).refresh(live.now, trust=False)
    assert caught.value.code == "list.rollback"


def test_a_running_plugin_hears_of_its_revocation_long_before_the_next_poll(tmp_path: Path) -> None:
    with HostedDeployment(tmp_path) as hosted:
        told, wheel = threading.Event(), hosted.plugin()
        more, news = threading.Event(), [b""]

        def answer(handler: BaseHTTPRequestHandler) -> None:
            stream(event(dump_announcement(Announcement(hosted.sim.head, b""))))(handler)
            more.wait(PATIENCE)
            handler.wfile.write(event(news[0]))

        hosted.server.lies[STREAM] = answer
        gate = hosted.gate(on_revoked=lambda plugin, error: told.set())
        plugin = gate.load(wheel)
        gate.watch(interval=86_000.0)
        assert not told.wait(0.2)
        hosted.revoke(wheel)
        news[0] = dump_announcement(Announcement(hosted.sim.head, b""))
        more.set()
        assert told.wait(PATIENCE)
        with pytest.raises(PluginRevoked):
            plugin.check()
        gate.close()
