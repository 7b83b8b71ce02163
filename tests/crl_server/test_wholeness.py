"""What was damaged on the server's own disk is not given out: caches would keep it for a year.

On one engine: files are served, and no database is asked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crl_server.layout import Layout
from crl_server.lists import wholeness as module
from crl_server.lists.public_files import IMMUTABLE, kind_of
from crl_server.lists.stamps import stamp_of
from crl_server.lists.wholeness import Wholeness
from crl_server.service import Authority
from crl_server.storage.tables import Artifact
from tests.crl_server.deployments import NOW, digest, made, revoke
from tests.crl_server.live import Live, refusal
from tests.crl_server.takebacks import add_rule, admit, subject
from tests.hosts import code_of
from verifier.files import write_atomic
from verifier.formats.revocations import sha256_hex

BASE = b"\0" * 700_000
RECORD = b"a,sha256=b,1\n"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    authority = made(tmp_path / "acme")
    revoke(authority, "first")
    write_atomic(authority.layout.list_file("bases", sha256_hex(BASE)), BASE)
    write_atomic(authority.layout.record_file(sha256_hex(RECORD)), RECORD)
    with Live(authority) as server:
        yield server
    authority.close()


def fixed(authority: Authority) -> list[str]:
    """The names of all files that never change."""
    public = authority.layout.public
    names = [str(path.relative_to(public)) for path in public.rglob("*") if path.is_file()]
    return sorted(name for name in names if (kind := kind_of(name)) and kind.caching == IMMUTABLE)


def damage(path: Path) -> None:
    """Turn one bit over, in the middle."""
    data = bytearray(path.read_bytes() or b"\0")
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def counted(live: Live) -> float | None:
    return live.instruments.registry.get_sample_value("loadlock_damaged_answers_total")


def test_every_immutable_file_is_refused_while_it_is_damaged(live: Live) -> None:
    names = fixed(live.authority)
    assert len(names) > 10
    # From the leaves up: what a file is named by is damaged after it.
    for name in sorted(names, key=lambda name: (".snapshot." in name, name)):
        path = live.authority.layout.public / name
        whole = path.read_bytes()
        assert [live.ask("GET", f"/{name}").body for _ in range(2)] == [whole, whole], name
        damage(path)
        tag = f'"{name.rpartition("/")[2]}"'
        for method, line, value in (
            ("GET", "Accept", "*/*"), ("GET", "Range", "bytes=0-3"), ("GET", "If-None-Match", tag), ("HEAD", "TE", "a"),
        ):  # fmt: skip
            answer = live.ask(method, f"/{name}", headers={line: value})
            assert (answer.status, answer.headers["cache-control"]) == (503, "no-store"), name
        refusal(live.ask("GET", f"/{name}"), 503, "server.damaged")
        path.write_bytes(whole)
        assert [live.ask("GET", f"/{name}").body for _ in range(2)] == [whole, whole], name
    assert counted(live) == 5 * len(names)


def test_what_was_damaged_before_it_was_asked_for_is_refused(live: Live) -> None:
    for name in fixed(live.authority):
        if ".snapshot." not in name:
            damage(live.authority.layout.public / name)
            refusal(live.ask("GET", f"/{name}"), 503, "server.damaged")


def test_what_changes_under_its_name_is_served_as_it_is(live: Live) -> None:
    """A cache asks for it each time, and hosts hold it against signatures."""
    damage(live.authority.layout.head)
    assert live.ask("GET", "/lists/head.json").body == live.authority.layout.head.read_bytes()


def test_metadata_that_nothing_names_is_served_as_it_is(live: Live) -> None:
    old = live.authority.layout.trust / "metadata" / "1.snapshot.json"
    for name in ("7.snapshot.json", "7.targets.json"):
        write_atomic(old.with_name(name), b"{}")
        assert live.ask("GET", f"/trust/metadata/{name}").body == b"{}"
    damage(old)
    refusal(live.ask("GET", "/trust/metadata/1.snapshot.json"), 503, "server.damaged")
    old.with_name("timestamp.json").write_bytes(b"{}")
    assert live.ask("GET", "/trust/metadata/1.targets.json").status == 200


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"signed":{},"signatures":[]}'])
def test_a_root_that_is_none_is_damaged(live: Live, content: bytes) -> None:
    root = live.authority.layout.trust / "metadata" / "1.root.json"
    whole = root.read_bytes()
    root.write_bytes(content)
    refusal(live.ask("GET", "/trust/metadata/1.root.json"), 503, "server.damaged")
    write_atomic(root.with_name("2.root.json"), whole)
    refusal(live.ask("GET", "/trust/metadata/2.root.json"), 503, "server.damaged")
    write_atomic(root.with_name("2.root.json"), root.with_name("1.targets.json").read_bytes())
    refusal(live.ask("GET", "/trust/metadata/2.root.json"), 503, "server.damaged")


def test_a_damaged_segment_is_mended_by_the_next_publication(live: Live) -> None:
    segment = next(name for name in fixed(live.authority) if "/segments/" in name)
    damage(live.authority.layout.public / segment)
    refusal(live.ask("GET", f"/{segment}"), 503, "server.damaged")
    revoke(live.authority, "second")
    assert live.ask("GET", f"/{segment}").status == 200


def test_it_is_logged_once_while_it_stays_as_it_is(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    name = f"lists/bases/{sha256_hex(BASE)}"
    damage(live.authority.layout.public / name)
    with caplog.at_level(logging.ERROR, "crl_server"):
        for _ in range(3):
            refusal(live.ask("GET", f"/{name}"), 503, "server.damaged")
    assert [record.getMessage() for record in caplog.records if record.name == "crl_server"] == [
        f"the public file {name} is damaged, and is not given out"
    ]
    assert counted(live) == 3


def test_a_file_is_read_through_once_however_many_ask(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def digest(file: object, name: str) -> object:
        read.append(file)
        return original(file, name)  # type: ignore[arg-type]

    original = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", digest)
    name = f"/lists/bases/{sha256_hex(BASE)}"
    found: list[bytes] = []
    asking = [threading.Thread(target=lambda: found.append(live.ask("GET", name).body)) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert (found, len(read)) == ([BASE] * 8, 1)


def test_no_more_is_remembered_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 3)
    layout = Layout(tmp_path)
    wholeness, stamps = Wholeness(layout), {}
    for number in range(5):
        path = layout.record_file(sha256_hex(b"%d" % number))
        write_atomic(path, b"%d" % number)
        name = f"records/{path.name}"
        wholeness.check(name)
        stamps[name] = stamp_of(os.stat(path))
    assert [wholeness.vouches(name, stamp) for name, stamp in stamps.items()] == [False, False, True, True, True]


def test_a_file_that_cannot_be_read_is_not_damaged(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    name = layout.record_file(sha256_hex(b"a"))
    name.parent.mkdir(parents=True)
    os.symlink("/etc/hostname", name)
    assert code_of(lambda: Wholeness(layout).check(f"records/{name.name}")) == "io.failed"
    assert code_of(lambda: Wholeness(layout).check("records/" + "0" * 64)) == "io.failed"


def test_a_file_that_is_written_to_meanwhile_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    path = layout.record_file(sha256_hex(b"abc"))
    write_atomic(path, b"abc")
    original = hashlib.file_digest

    def digest(file: object, name: str) -> object:
        found = original(file, name)  # type: ignore[arg-type]
        path.write_bytes(b"xyz!")
        return found

    wholeness = Wholeness(layout)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    wholeness.check(f"records/{path.name}")
    assert not wholeness.vouches(f"records/{path.name}", stamp_of(os.stat(path)))
    assert code_of(lambda: wholeness.check(f"records/{path.name}")) == "server.damaged"


def test_what_the_database_knows_is_written_anew_by_a_restart(tmp_path: Path) -> None:
    """As the runbook promises."""
    authority = made(tmp_path / "acme")
    admit(authority, subject("plugin"))
    with authority.store.write() as ledger:
        ledger.session.get_one(Artifact, digest("plugin")).record = RECORD
    revoke(authority, "first")
    add_rule(authority)
    authority.reconcile(NOW)
    head = authority.standing(NOW).revocations.head
    layout = authority.layout
    wanted = [
        *(layout.list_file("segments", ref.sha256) for ref in head.segments),
        layout.list_file("rules", head.rules.sha256),
        layout.record_file(sha256_hex(RECORD)),
        layout.set_file(digest("plugin").hex),
    ]
    before = {path: path.read_bytes() for path in wanted}
    authority.close()
    for path in wanted:
        path.unlink()
    with closing(Authority(layout.root)) as again:
        again.reconcile(NOW)
    assert {path: path.read_bytes() for path in wanted} == before
