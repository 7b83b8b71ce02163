"""What exports and webhooks keep in the database, on both engines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crl_server.export import leftovers
from crl_server.operating.counting import counts
from crl_server.operating.notices import PATIENCE, note
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from crl_server.webhooks import outbox
from crl_server.webhooks.events import KINDS
from tests.crl_server.deployments import DAY, HOUR, NOW, made, revoke
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_hosts import claim, said

pytestmark = pytest.mark.usefixtures("engine")
TOPICS = ("revocation", "expiry")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    yield new
    new.close()


def fill(authority: Authority) -> int:
    with authority.store.write() as ledger:
        return outbox.fill(ledger, "soc", TOPICS, NOW)


def numbers(authority: Authority) -> list[int]:
    """What is pending, in order; all of it is begun, and struck out."""
    found: list[int] = []
    while True:
        with authority.store.write() as ledger:
            due = outbox.next_due(ledger, "soc", NOW)
            if due is None:
                return found
            assert outbox.claim(ledger, due, NOW)
            outbox.delivered(ledger, "soc", due.number)
            found.append(due.number)


def test_every_entry_of_the_topics_is_written_down_once_however_many_there_are(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAGE", 3)
    assert fill(authority) == 0
    for label in range(4):
        revoke(authority, label)
    with authority.store.read() as ledger:
        assert outbox.behind(ledger, "soc")
    while fill(authority):
        pass
    with authority.store.read() as ledger:
        assert not outbox.behind(ledger, "soc")
        assert outbox.backlog(ledger, "soc")[:2] == (4, 0)
    assert len(numbers(authority)) == 4
    assert fill(authority) == 0


def test_servers_that_write_down_at_the_same_time_write_nothing_twice(authority: Authority) -> None:
    fill(authority)
    revoke(authority, *range(20))
    errors: list[Exception] = []

    def work() -> None:
        try:
            while fill(authority):
                pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = numbers(authority)
    assert len(found) == len(set(found)) == 20


def test_an_attempt_belongs_to_one_server(authority: Authority) -> None:
    fill(authority)
    revoke(authority, "first")
    fill(authority)
    with authority.store.read() as ledger:
        due = outbox.next_due(ledger, "soc", NOW)
    assert due is not None
    with authority.store.write() as ledger:
        assert outbox.claim(ledger, due, NOW)
    with authority.store.write() as ledger:
        assert not outbox.claim(ledger, due, NOW)


def test_what_failed_waits_is_given_up_and_begun_anew(authority: Authority) -> None:
    fill(authority)
    revoke(authority, "first")
    fill(authority)
    moment, attempts = NOW, 0
    while True:
        with authority.store.write() as ledger:
            due = outbox.next_due(ledger, "soc", moment)
            if due is None:
                break
            assert outbox.claim(ledger, due, moment)
        attempts += 1
        with authority.store.write() as ledger:
            dead = outbox.failed(ledger, "soc", due.number, "status 500 " * 100, moment)
            assert outbox.next_due(ledger, "soc", moment) is None
        assert dead == (attempts == outbox.ATTEMPTS)
        moment += 7 * HOUR
    assert attempts == outbox.ATTEMPTS
    with authority.store.write() as ledger:
        assert outbox.given_up(ledger) == ["the webhook soc was not told of 1 events, which are given up"]
        assert outbox.revive(ledger, "soc", NOW) == 1
        assert outbox.backlog(ledger, "soc")[:2] == (1, 0)
        outbox.forget(ledger, "soc")
        assert outbox.backlog(ledger, "soc") == (0, 0, -1)
        assert outbox.failed(ledger, "soc", 0, "late", NOW) is False


def test_notices_are_recorded_once_whoever_looks(authority: Authority) -> None:
    moment = NOW + 17 * HOUR
    threads = [threading.Thread(target=note, args=(authority, moment)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert authority.verify_audit(moment).count
    with authority.store.read() as ledger:
        actions = [line for line in ledger.audit_lines() if b'"expiry.warn"' in line]
    assert len(actions) == 2
    assert "expiry.warn" in KINDS


def test_leftovers_are_remembered_until_they_are_due_or_needed_again(authority: Authority) -> None:
    store = authority.store
    assert leftovers.due(store, "cdn", {"a", "b"}, NOW, DAY) == []
    assert leftovers.due(store, "cdn", {"a", "c"}, NOW + HOUR, DAY) == []
    assert leftovers.due(store, "other", {"a"}, NOW + DAY, DAY) == []
    assert leftovers.due(store, "cdn", {"a", "b", "c"}, NOW + DAY, DAY) == ["a"]
    leftovers.forget(store, "cdn", ["a"])
    assert leftovers.due(store, "cdn", {"a"}, NOW + DAY, DAY) == []


def test_everything_is_counted(authority: Authority) -> None:
    admit(authority, subject("first"))
    revoke(authority, "first", "second")
    with authority.store.read() as ledger:
        found = counts(ledger, NOW)
    assert (found.artifacts, found.revocations, found.committed, found.hosts) == (1, 2, 1, 0)
    assert found.audit == authority.verify_audit(NOW).count


def test_hosts_that_lag_are_told_of_once_for_each_event_and_not_before_they_had_time(authority: Authority) -> None:
    def told() -> list[dict[str, Any]]:
        with authority.store.read() as ledger:
            entries = [parse_entry(line) for line in ledger.audit_lines()]
        return [entry.detail for entry in entries if entry.action == "coverage.warn"]

    revoke(authority, "first")
    said(authority, claim("web-1", seq=1), claim("web-2", seq=0), now=NOW)
    note(authority, NOW + PATIENCE / 2)
    assert told() == []
    said(authority, claim("web-1", seq=1), claim("web-2", seq=0), now=NOW + PATIENCE)
    note(authority, NOW + PATIENCE)
    note(authority, NOW + PATIENCE)
    assert told() == [
        {"seq": 1, "hosts": 2, "enforcing": 1, "lagging": ["web-2"], "lagging_count": 1, "silent_count": 0}
    ]
    said(authority, claim("web-2", seq=1), now=NOW + PATIENCE)
    revoke(authority, "second", now=NOW + PATIENCE)
    note(authority, NOW + PATIENCE)  # the second is too young
    assert len(told()) == 1
