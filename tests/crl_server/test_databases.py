"""Which database a deployment has, and what is demanded of one elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from crl_server.layout import Layout
from crl_server.service import Authority
from crl_server.storage import store as store_module
from crl_server.storage.databases import DATABASE_URL, new_store, open_store, store_at
from crl_server.storage.store import Store
from crl_server.trust.initialise import initialise
from tests import postgresql
from tests.crl_server.deployments import ACTOR, NOW, made, plan
from tests.crl_server.test_handovers import code_of
from verifier.errors import FormatError, Unreachable, UsageError

SECRET = "postgresql://loadlock:hunter2@127.0.0.1:1/loadlock"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "server").mkdir()
    return Layout(tmp_path)


@pytest.fixture
def url() -> str:
    return postgresql.shared().new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    new = store_at(url)
    yield new
    new.close()


def test_the_note_of_where_it_is_can_be_read_by_nobody_else(layout: Layout) -> None:
    store = new_store(layout, SECRET)
    assert store.replicated
    assert layout.database_address.stat().st_mode & 0o777 == 0o600
    assert open_store(layout).replicated
    layout.database_address.chmod(0o640)
    with pytest.raises(UsageError) as caught:
        open_store(layout)
    assert caught.value.code == "usage.configuration"


def test_the_environment_comes_before_the_file(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(layout)
    assert caught.value.code == "usage.deployment"
    monkeypatch.setenv(DATABASE_URL, SECRET)
    assert open_store(layout).replicated


@pytest.mark.parametrize(
    "url", ["mysql://x", "loadlock.sqlite", "postgresql://u:hunter2@[", "postgresql://u:hunter2@h?x=1"]
)
def test_an_address_that_is_none_is_refused_without_telling_it(layout: Layout, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        new_store(layout, url)
    assert caught.value.code == "usage.configuration"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", [b'url = "postgresql://u:hunter2', b'uri = "hunter2"', b"url = 1", b"\xff"])
def test_a_malformed_file_is_refused_without_telling_it(layout: Layout, text: bytes) -> None:
    layout.database_address.write_bytes(text)
    layout.database_address.chmod(0o600)
    with pytest.raises(FormatError) as caught:
        open_store(layout)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there_is_unreachable_and_its_password_stays_secret(layout: Layout) -> None:
    with pytest.raises(Unreachable) as caught:
        new_store(layout, SECRET).upgrade()
    assert caught.value.code == "io.failed"
    assert "LOADLOCK_DATABASE_URL" in caught.value.todo  # no path of a file is to be looked at
    assert "hunter2" not in repr(caught.value) + str(caught.value)
    assert "hunter2" not in repr(plan())


def test_a_database_in_an_order_that_can_change_is_refused() -> None:
    server = postgresql.shared()
    server.run("CREATE DATABASE icu TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'")
    other = store_at(server.url("icu"))
    assert code_of(other.upgrade) == "usage.configuration"
    other.close()


def test_a_database_serves_one_deployment(tmp_path: Path, url: str) -> None:
    made(tmp_path / "acme", database=url).close()
    with pytest.raises(UsageError) as caught:
        initialise(tmp_path / "other", plan(database=url), ACTOR, NOW)
    assert caught.value.code == "usage.exists"
    assert not (tmp_path / "other").exists()
    authority = Authority(tmp_path / "acme")
    assert authority.standing(NOW).revocations.head.seq == 0
    authority.close()


def test_a_deployment_that_was_not_made_leaves_the_database_to_the_next(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("crl_server.trust.initialise.dump_deployment", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made(tmp_path / "acme", database=url)
    made(tmp_path / "acme", database=url).close()


def test_writers_wait_for_each_other_and_not_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PATIENCE", 0.05)
    with store.write(), pytest.raises(Unreachable) as caught, store.write():
        pytest.fail("two writers at once")
    assert caught.value.code == "io.failed"
    assert "lock timeout" in str(caught.value.found)


def test_readers_do_not_wait(store: Store) -> None:
    with store.write() as ledger:
        ledger.set("deployment", "acme")
        with store.read() as other:
            assert other.setting("deployment") is None


def test_there_is_one_publisher(store: Store) -> None:
    inside, most = 0, 0

    def publish() -> None:
        nonlocal inside, most
        for _ in range(10):
            with store.publishing():
                inside += 1
                most = max(most, inside)
                with store.write() as ledger:
                    ledger.set("deployment", str(int(ledger.setting("deployment") or 0) + 1))
                inside -= 1

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with store.read() as ledger:
        assert ledger.setting("deployment") == "40"


def test_a_publisher_whose_connection_was_lost_writes_nothing_more(store: Store, url: str) -> None:
    """Another one may have taken its place by then."""
    other = store_at(url)

    def too_late() -> None:
        with store.write() as ledger:
            ledger.set("deployment", "too late")

    def publish() -> None:
        with store.publishing():
            with store.read() as ledger:
                pid = ledger.session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with other.read() as ledger:
                ledger.session.connection().exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
            with other.publishing(), other.write() as ledger:
                ledger.set("deployment", "another")
            for _ in range(2):
                assert code_of(too_late) == "io.failed"

    assert code_of(publish) == "io.failed"
    other.close()
    with store.publishing(), store.read() as ledger:
        assert ledger.setting("deployment") == "another"


def test_a_publisher_that_failed_stands_in_nobodys_way(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.publishing():
        raise ZeroDivisionError
    with store.publishing():
        pass


def test_a_machine_that_vanishes_is_noticed(store: Store, url: str) -> None:
    """Without these a revocation waits for a quarter of an hour for a database that has moved elsewhere."""

    def parameters(of: Store) -> dict[str, str]:
        with of.read() as ledger:
            driver: Any = ledger.session.connection().connection.driver_connection
            return dict(driver.info.get_parameters())

    found = parameters(store)
    names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    assert [found[name] for name in names] == ["10", "5", "3", "25000"]
    other = store_at(url + "&tcp_user_timeout=5000")
    assert parameters(other)["tcp_user_timeout"] == "5000"
    other.close()


def test_a_database_that_takes_no_writes_is_not_read_either(store: Store, url: str) -> None:
    """A standby says what was true a while ago: a token that was taken back since would still be good."""
    name = urlsplit(url).path.removeprefix("/")
    postgresql.shared().run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Unreachable) as caught, store.read():
        pytest.fail("it was read")
    assert "read-only" in str(caught.value.found)


def test_a_pooler_that_ignores_what_a_session_asks_for_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crl_server.storage.postgresql._SESSION", "")
    with pytest.raises(UsageError) as caught:
        store.upgrade()
    assert (caught.value.code, "pooler" in caught.value.todo) == ("usage.configuration", True)


def test_text_is_text_whatever_the_environment_says(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = store_at(url)
    with store.write() as ledger:
        ledger.set("note", "Łódź")
        assert ledger.setting("note") == "Łódź"
    store.close()
