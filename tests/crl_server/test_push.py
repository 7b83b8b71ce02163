"""The push stream of a real server: the head in force first, each new one at once, and nobody waits for the slow."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crl_server.api.app import create_app
from crl_server.layout import Layout
from crl_server.operating import push
from crl_server.operating.push import Hub, read_event, with_stream
from crl_server.processes.process import server_of
from crl_server.service import Authority
from tests.crl_server.deployments import NOW, digest, made, revoke
from tests.crl_server.live import address_of, listen
from verifier.deployment.ground import open_ground
from verifier.formats import dsse
from verifier.formats.push import Announcement
from verifier.formats.revocations import parse_head, sha256_hex
from verifier.refreshing.push import announcements
from verifier.refreshing.refresh import Refresher, enroll
from verifier.refreshing.transport import Stream, Transport

pytestmark = pytest.mark.usefixtures("engine")


class Pushing:
    """A real server with a hub, in a thread."""

    def __init__(self, authority: Authority, **options: Any) -> None:
        self.authority = authority
        self.hub = Hub(authority.layout, look=0.01, **options)
        self._socket = listen()
        self.address = address_of(self._socket)
        self._server = server_of(with_stream(create_app(authority, lambda: NOW), self.hub), self.hub)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._streams: list[Stream] = []

    def __enter__(self) -> Pushing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for stream in self._streams:
            stream.close()
        self._socket.close()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "open streams kept the server from ending"

    def open(self) -> Stream:
        self._streams.append(Transport(self.address).stream("/v1/stream"))
        return self._streams[-1]

    def listen(self) -> Iterator[Announcement]:
        return announcements(self.open())


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    authority = made(tmp_path / "deployment")
    yield authority
    authority.close()


@pytest.fixture
def pushing(authority: Authority) -> Iterator[Pushing]:
    with Pushing(authority) as server:
        yield server


def seq_of(announcement: Announcement) -> int:
    return parse_head(dsse.parse_envelope(announcement.head, what="head").unverified_payload).seq


def test_the_head_in_force_comes_first_and_each_new_one_at_once(pushing: Pushing) -> None:
    news = pushing.listen()
    assert next(news).head == pushing.authority.layout.head.read_bytes()
    for number in range(1, 4):
        revoke(pushing.authority, number)
        announcement = next(news)
        assert announcement.head == pushing.authority.layout.head.read_bytes()
        assert seq_of(announcement) == number
        head = parse_head(dsse.parse_envelope(announcement.head, what="head").unverified_payload)
        assert sha256_hex(announcement.segment) == head.segments[-1].sha256
        assert bytes.fromhex(digest(number).hex)[:16] in announcement.segment


async def _reads_overlap(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What a hub tells once two of its reads have overlapped, with a new head in between."""
    began, ending, reads = threading.Event(), threading.Event(), []

    def read(layout: Layout) -> bytes:
        event = read_event(layout)
        reads.append(event)
        if len(reads) == 1:
            began.set()
            assert ending.wait(20)
        return event

    monkeypatch.setattr(push, "read_event", read)
    hub = Hub(authority.layout)
    first = asyncio.create_task(hub._refresh())
    await asyncio.to_thread(began.wait, 20)
    revoke(authority, "new")
    second = asyncio.create_task(hub._refresh())
    await asyncio.wait([second], timeout=0.2)
    ending.set()
    await asyncio.gather(first, second)
    return hub._event


def test_an_older_head_is_not_told_after_a_newer_one(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(_reads_overlap(authority, monkeypatch)) == read_event(authority.layout)


async def _statuses(authority: Authority, limit: int, listeners: int) -> list[int]:
    """How those are answered who connect at the same moment."""
    hub, leaving, statuses = Hub(authority.layout, limit=limit), asyncio.Event(), list[int]()

    async def receive() -> dict[str, Any]:
        await leaving.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            if len(statuses) == listeners:
                leaving.set()

    scope = {"type": "http", "method": "GET", "path": "/v1/stream", "headers": []}
    await asyncio.gather(*(hub(scope, receive, send) for _ in range(listeners)))
    await hub.close()
    return sorted(statuses)


def test_no_more_may_listen_than_may_however_fast_they_come(authority: Authority) -> None:
    assert asyncio.run(_statuses(authority, 2, 5)) == [200, 200, 503, 503, 503]


def test_everybody_hears_it(pushing: Pushing) -> None:
    listeners = [pushing.listen() for _ in range(20)]
    assert {seq_of(next(news)) for news in listeners} == {0}
    revoke(pushing.authority, "a")
    assert {seq_of(next(news)) for news in listeners} == {1}


def test_a_revocation_by_another_process_is_pushed_too(pushing: Pushing, tmp_path: Path) -> None:
    news = pushing.listen()
    next(news)
    other = Authority(tmp_path / "deployment")
    revoke(other, "b")
    other.close()
    assert seq_of(next(news)) == 1


def test_a_segment_over_its_cap_stays_behind(pushing: Pushing) -> None:
    news = pushing.listen()
    next(news)
    for start in range(0, 5000, 1000):
        revoke(pushing.authority, *range(start, start + 1000))
    while True:
        announcement = next(news)
        if seq_of(announcement) == 5:
            break
    head = parse_head(dsse.parse_envelope(announcement.head, what="head").unverified_payload)
    assert (announcement.segment == b"") == (head.segments[-1].count > 4096)


def test_over_the_limit_is_told_to_poll(authority: Authority) -> None:
    with Pushing(authority, limit=1) as server:
        next(server.listen())
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), timeout=20) as second:
            second.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: second.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"server.streams"' in answer


def test_the_silent_get_a_comment(authority: Authority) -> None:
    with Pushing(authority, ping=0.05) as server:
        lines = server.open().lines(1_000_000)
        assert b":" in (next(lines) for _ in range(100))


def test_who_leaves_is_forgotten(pushing: Pushing) -> None:
    stream = pushing.open()
    next(announcements(stream))
    assert len(pushing.hub) == 1
    stream.end()
    stream.close()
    patience = threading.Event()
    while len(pushing.hub):
        patience.wait(0.01)


def test_open_streams_do_not_keep_the_server_from_ending(pushing: Pushing) -> None:
    streams = [pushing.listen() for _ in range(5)]
    for news in streams:
        next(news)
    pushing.stop()
    assert [list(news) for news in streams] == [[]] * 5


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
def test_only_get_opens_a_stream(pushing: Pushing, method: str) -> None:
    with socket.create_connection(("127.0.0.1", int(pushing.address.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(f"{method} /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(64).split()[1] in {b"404", b"405"}


def test_a_host_that_listens_asks_for_nothing_however_the_server_merges_segments(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)  # python-tuf's client judges by the machine's clock
    authority = made(tmp_path / "current", now=now)
    with Pushing(authority) as server:
        home = enroll(server.address, f"sha256:{sha256_hex(authority.repository.root(1))}", tmp_path / "host")
        Refresher(home, Transport(server.address)).refresh(now)
        host = Refresher(home, Transport("http://127.0.0.1:9"))
        news = server.listen()
        next(news)
        merged = 0
        for number in range(1, 18):
            revoke(authority, number, now=now)
            ground = open_ground(home, now)
            announcement = next(news)
            assert host.ahead(ground, now, announcement).revocations.lists(digest(number))
            in_force = host.refresh(now, trust=False, offer=announcement)
            merged += in_force.revocations.tail[0].ref.last > 1
        assert merged > 5
        assert Refresher(home).home.in_force(now).revocations.head.seq == 17
    authority.close()


# -- the hub by itself -------------------------------------------------------------------------------------------------


def test_nobody_waits_for_who_does_not_read(authority: Authority) -> None:
    """One listener's buffer is full: the other hears everything, and the slow one then gets the latest alone."""

    async def play() -> tuple[list[bytes], list[bytes]]:
        hub = Hub(authority.layout, look=0.005)
        free, left = asyncio.Event(), asyncio.Event()
        fast: list[bytes] = []
        slow: list[bytes] = []

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def quick(message: Any) -> None:
            fast.append(message.get("body", b""))

        async def stuck(message: Any) -> None:
            if message.get("body"):
                await free.wait()
                slow.append(message["body"])

        tasks = [asyncio.create_task(hub({}, receive, send)) for send in (quick, stuck)]
        for number in range(1, 4):
            while len([body for body in fast if body]) < number:
                await asyncio.sleep(0.005)
            await asyncio.to_thread(revoke, authority, number)
        while len([body for body in fast if body]) < 4:
            await asyncio.sleep(0.005)
        free.set()
        while len(slow) < 2:
            await asyncio.sleep(0.005)
        left.set()
        await asyncio.gather(*tasks)
        await hub.close()
        return [body for body in fast if body], slow

    fast, slow = asyncio.run(asyncio.wait_for(play(), 30))
    assert [body.partition(b"\n")[0] for body in fast] == [b"id: 1.0", b"id: 1.1", b"id: 1.2", b"id: 1.3"]
    assert [body.partition(b"\n")[0] for body in slow] == [b"id: 1.0", b"id: 1.3"]


def test_a_head_that_cannot_be_read_is_pushed_when_it_can(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> bytes:
        hub = Hub(authority.layout, look=0.005)
        good = authority.layout.head.read_bytes()
        authority.layout.head.write_bytes(b"{")
        sent: list[bytes] = []
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        task = asyncio.create_task(hub({}, receive, send))
        await asyncio.sleep(0.05)
        assert not any(sent)
        authority.layout.head.write_bytes(good)
        while not any(sent):
            await asyncio.sleep(0.005)
        left.set()
        await task
        await hub.close()
        return b"".join(sent)

    assert b"event: list" in asyncio.run(asyncio.wait_for(play(), 30))
    assert [record.message.startswith("the head cannot be pushed") for record in caplog.records] == [True]
