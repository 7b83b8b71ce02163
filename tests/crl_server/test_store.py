"""The database: schema, durability settings, transactions, the audit chain in it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from crl_server.records.audit import EMPTY, Act, verify_log
from crl_server.storage import idempotency
from crl_server.storage import store as store_module
from crl_server.storage.databases import store_at
from crl_server.storage.sqlite import sqlite_store
from crl_server.storage.store import Store
from crl_server.storage.tables import Revocation
from tests.crl_server.engines import databases
from verifier.errors import Refused, Unreachable, UsageError
from verifier.formats.revocations import SegmentRef
from verifier.formats.text import Digest, Hex

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
A, B, C = (Digest(f"sha256:{letter * 64}") for letter in "abc")
ACT = Act("server", "list.publish", "", {"seq": 1})


@pytest.fixture
def store(engine: str, tmp_path: Path) -> Iterator[Store]:
    url = databases.new()
    new = store_at(url) if url else sqlite_store(tmp_path / "loadlock.sqlite")
    new.upgrade()
    yield new
    new.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Store]:
    new = sqlite_store(tmp_path / "loadlock.sqlite")
    new.upgrade()
    yield new
    new.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loadlock.sqlite").write_bytes(b"not a database, though long enough to be looked at" * 30)
    with pytest.raises(Unreachable) as caught:
        sqlite_store(tmp_path / "loadlock.sqlite").upgrade()
    assert caught.value.code == "io.failed"


def test_a_database_that_another_process_holds_is_refused_after_a_while(
    file: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PATIENCE", 0.05)
    other = sqlite3.connect(tmp_path / "loadlock.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fresh = sqlite_store(tmp_path / "loadlock.sqlite")
    with pytest.raises(Unreachable) as caught, fresh.write():
        pytest.fail("two writers at once")
    assert (caught.value.code, caught.value.found) == ("io.failed", "database is locked")
    other.close()


def test_who_finds_no_connection_free_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not the victim of an error that nobody foresaw."""
    monkeypatch.setattr(store_module, "PATIENCE", 0.05)
    store = sqlite_store(tmp_path / "loadlock.sqlite")
    with ExitStack() as held:
        for _ in range(store_module.CONNECTIONS):
            held.enter_context(store.read())
        with pytest.raises(Unreachable) as caught, store.read():
            pytest.fail("there was one more")
    assert caught.value.code == "io.failed"
    store.close()


def test_what_raised_leaves_nothing_behind(store: Store) -> None:
    def fail() -> None:
        with store.write() as ledger:
            ledger.add_event([A], NOW)
            ledger.record(ACT, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as ledger:
        assert (ledger.last_seq(), ledger.listed(A), ledger.audit_state()) == (0, None, EMPTY)


def test_a_read_cannot_write(store: Store) -> None:
    with suppress(Unreachable), store.read() as ledger:  # PostgreSQL refuses it, SQLite forgets it
        ledger.set("deployment", "acme")
    with store.read() as ledger:
        assert ledger.setting("deployment") is None


def test_one_digest_is_listed_once(store: Store) -> None:
    with store.write() as ledger:
        ledger.add_event([A], NOW)
    with pytest.raises(Unreachable), store.write() as ledger:
        ledger.add_event([A], NOW)


def test_a_key_used_for_another_request_is_refused(store: Store) -> None:
    with store.write() as ledger:
        idempotency.remember(ledger, "token:ci", "k", Hex("1" * 64), b"{}", NOW)
        assert idempotency.answered(ledger, "token:ci", "k", Hex("1" * 64)) == b"{}"
        assert idempotency.answered(ledger, "token:other", "k", Hex("2" * 64)) is None
        with pytest.raises(Refused) as caught:
            idempotency.answered(ledger, "token:ci", "k", Hex("2" * 64))
        assert caught.value.code == "request.idempotency"
        idempotency.forget(ledger, NOW + timedelta(days=8))
        assert idempotency.answered(ledger, "token:ci", "k", Hex("2" * 64)) is None


@pytest.mark.parametrize("key", ["k" * 201, "schlüssel", "a\nb", "\x00"])
def test_an_unusable_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        idempotency.check_key(key)
    assert caught.value.code == "usage.arguments"


def test_the_migrations_make_the_schema_of_the_tables(store: Store) -> None:
    with store.read() as ledger:
        context = MigrationContext.configure(ledger.session.connection())
        assert compare_metadata(context, SQLModel.metadata) == []


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    config = Config()
    config.set_main_option("script_location", "crl_server:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [store_module.SCHEMA]


def test_a_database_of_a_newer_release_is_refused(store: Store) -> None:
    with store.write() as ledger:
        ledger.session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UsageError) as caught:
        store.upgrade()
    assert caught.value.code == "usage.configuration"


def test_upgrading_again_changes_nothing(store: Store) -> None:
    with store.write() as ledger:
        ledger.add_event([A], NOW)
    store.upgrade()
    with store.read() as ledger:
        assert ledger.listed(A) == 1


def test_a_commit_is_durable_by_the_settings_of_every_connection(file: Store) -> None:
    with file.read() as ledger:
        connection = ledger.session.connection()
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


def test_events_number_the_entries(store: Store) -> None:
    with store.write() as ledger:
        assert ledger.add_event([A, B], NOW) == 1
        assert ledger.add_event([C], NOW) == 2
    with store.read() as ledger:
        assert (ledger.last_seq(), ledger.listed(B), ledger.listed(C)) == (2, 1, 2)
        assert sorted(ledger.entries(1, 1)) == [A, B]
        assert ledger.entry_count(1, 2) == 3


def test_reasons_are_paged_by_their_id(store: Store) -> None:
    with store.write() as ledger:
        ledger.add_event([A, B], NOW)
        for digest, reason in ((A, "malicious"), (B, "vulnerability"), (A, "key-compromise")):
            ledger.add_reason(Revocation(digest=digest, reason=reason, note="", at="", by=""))
    with store.read() as ledger:
        assert [reason.reason for reason in ledger.reasons(A)] == ["malicious", "key-compromise"]
        pages, after = [], 0
        while page := ledger.revocations(after, 2):
            pages.append([(row.digest, seq) for row, seq in page])
            after = page[-1][0].id or 0
    assert pages == [[(A, 1), (B, 1)], [(A, 1)]]


def test_the_segments_of_a_publication_replace_those_before(store: Store) -> None:
    first = SegmentRef(first=1, last=1, count=1, sha256=Hex("1" * 64))
    second = SegmentRef(first=1, last=2, count=3, sha256=Hex("2" * 64))
    for segments in ((first,), (second,), ()):
        with store.write() as ledger:
            ledger.replace_segments(segments)
        with store.read() as ledger:
            assert ledger.segments() == segments


def test_the_audit_log_is_one_chain_whoever_writes(store: Store) -> None:
    def write() -> None:
        for _ in range(5):
            with store.write() as ledger:
                ledger.record(ACT, NOW)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as ledger:
        assert verify_log(ledger.audit_lines(), ledger.audit_state()).count == 20
        assert len(list(ledger.audit_lines(after=16, limit=2))) == 2
