"""A full disk, a disk that takes nothing, a clock that jumps, publishers that race, ten thousand readers: what comes
of each. What kills do stands in test_crash.py, what becomes of dead servers and databases in test_replicas.py.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from crl_server.service import Authority
from tests import postgresql
from tests.crl_server.deployments import DAY, NOW, digest, made, revoke
from tests.crl_server.live import Live
from tests.crl_server.replicas import replica_of
from tests.crl_server.test_handovers import code_of
from tests.crl_server.test_publishing import as_a_host
from tests.project.tree import ROOT
from verifier.formats import dsse
from verifier.formats.revocations import parse_head


@pytest.fixture
def authority(engine: str, tmp_path: Path) -> Iterator[Authority]:
    found = made(tmp_path / "acme")
    yield found
    found.close()


# -- the disk ----------------------------------------------------------------------------------------------------------


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow past a size: what is written there fails half way, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 10, 500, 3000])
def test_a_full_disk_acknowledges_nothing_and_spoils_nothing(authority: Authority, size: int) -> None:
    """Whatever is too long: the database, a segment, the head."""
    revoke(authority, "before")
    with room_for(size):
        assert code_of(lambda: revoke(authority, *range(900))) == "io.failed"
        assert as_a_host(authority).head.seq == 1
    revoke(authority, "after")
    found = as_a_host(authority)
    assert found.lists(digest("before"))
    assert found.lists(digest("after"))
    with authority.store.read() as ledger:
        assert found.head.seq == ledger.last_seq()
        committed = ledger.listed(digest(0)) is not None
    assert found.lists(digest(0)) == committed
    assert not [path for path in authority.layout.public.rglob(".*") if path.is_file()]
    authority.verify_audit(NOW)


ON_A_DISK_THAT_TAKES_NOTHING = """
import os, sys
from pathlib import Path
from crl_server.service import Authority
from tests.crl_server.deployments import revoke
from tests.crl_server.test_publishing import as_a_host
from verifier.errors import LoadlockError

root = Path(sys.argv[1])
authority = Authority(root)
revoke(authority, "before")
nobody = 65534 if os.geteuid() == 0 else os.geteuid()  # permissions do not hold root
for path in [root, *root.rglob("*")]:
    os.chown(path, nobody, -1)
    path.chmod(0o555 if path.is_dir() else 0o400)
os.setresuid(nobody, nobody, nobody)
for number in range(2):
    try:
        revoke(authority, number)
    except LoadlockError as error:
        print(error.code, as_a_host(authority).head.seq)
"""


def test_a_disk_that_takes_nothing_acknowledges_nothing_and_is_still_served(engine: str) -> None:
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # unlike tmp_path open to whom the server runs as
        Path(folder).chmod(0o755)
        authority = made(Path(folder) / "acme")
        root = authority.layout.root
        command = [sys.executable, "-c", ON_A_DISK_THAT_TAKES_NOTHING, str(root)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        for path in [root, *root.rglob("*")]:
            os.chown(path, os.geteuid(), -1)
            path.chmod(0o700 if path.is_dir() else 0o600)
        assert (done.stderr, done.stdout.split()) == ("", ["io.failed", "1"] * 2)
        revoke(authority, "after")
        assert as_a_host(authority).lists(digest("before"))
        assert as_a_host(authority).lists(digest("after"))
        authority.close()


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_a_clock_a_year_ahead_signs_nothing_and_back_again_all_goes_on(authority: Authority) -> None:
    """By then the head key's time is over: no host would take what it signs, and nothing is signed."""
    revoke(authority, "before")
    assert code_of(lambda: revoke(authority, "ahead", now=NOW + 366 * DAY)) == "server.lint"
    assert as_a_host(authority).head.seq == 1
    revoke(authority, "back")
    found = as_a_host(authority)
    assert all(found.lists(digest(name)) for name in ("before", "ahead", "back"))
    assert found.head.issued.instant < NOW + DAY


def test_a_clock_a_month_ahead_is_a_clock_behind_afterwards(authority: Authority) -> None:
    """What it signed cannot be unsaid: hosts refuse it as of the future, and it stays the last one until then."""
    revoke(authority, "before")
    revoke(authority, "ahead", now=NOW + 30 * DAY)
    assert code_of(lambda: revoke(authority, "back")) == "clock.behind"
    with authority.store.read() as ledger:
        assert ledger.listed(digest("back")) is not None  # recorded, and published as soon as the clock has got there
    authority.reconcile(NOW + 30 * DAY)
    assert as_a_host(authority).lists(digest("back"))


# -- many at once ------------------------------------------------------------------------------------------------------


def test_two_servers_racing_publish_one_history(tmp_path: Path) -> None:
    first = made(tmp_path / "first", database=postgresql.shared().new_database())
    second = Authority(replica_of(first, tmp_path / "second"))
    failed: list[BaseException] = []

    def publish(authority: Authority, name: str) -> None:
        try:
            for number in range(8):
                revoke(authority, f"{name}-{number}")
                assert as_a_host(authority).lists(digest(f"{name}-{number}"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=publish, args=(found, name)) for found, name in ((first, "a"), (second, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for found in (first, second):
        found.tree.catch_up()
        assert all(as_a_host(found).lists(digest(f"{name}-{number}")) for name in "ab" for number in range(8))
        assert as_a_host(found).head.seq == 16
    assert first.layout.head.read_bytes() == second.layout.head.read_bytes()
    first.close()
    second.close()


READERS, READS = 100, 100


def test_ten_thousand_reads_during_publications_see_whole_lists_in_order(authority: Authority) -> None:
    """Every answer is a head of which everything is there; no reader sees the list go back."""
    revoke(authority, "first")
    with Live(authority) as live:
        host, port = live.address.removeprefix("http://").split(":")
        request = f"GET /lists/head.json HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        judged: dict[bytes, int] = {}
        done = threading.Event()

        def seq_of(body: bytes) -> int:
            if body not in judged:
                head = parse_head(dsse.parse_envelope(body, what="head").unverified_payload)
                for segment in head.segments:
                    assert authority.layout.list_file("segments", segment.sha256).is_file()
                judged[body] = head.seq
            return judged[body]

        async def read() -> int:
            reader, writer = await asyncio.open_connection(host, int(port))
            last = 0
            for _ in range(READS):
                writer.write(request)
                top = await reader.readuntil(b"\r\n\r\n")
                assert top.startswith(b"HTTP/1.1 200 "), top
                length = next(line for line in top.lower().splitlines() if line.startswith(b"content-length:"))
                seq = seq_of(await reader.readexactly(int(length.split(b":")[1])))
                assert seq >= last
                last = seq
            writer.close()
            await writer.wait_closed()
            return last

        async def everybody() -> list[int]:
            return await asyncio.gather(*(read() for _ in range(READERS)))

        def publish() -> None:
            number = 0
            while not done.is_set():
                revoke(authority, f"meanwhile {number}")
                number += 1

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            seen = asyncio.run(everybody())
        finally:
            done.set()
            publisher.join()
    assert len(seen) * READS == 10_000
    assert len(judged) > 1
    assert as_a_host(authority).head.seq >= max(seen) > 1
