"""What exports and webhooks keep in the database, on both engines."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest

from crl_server.export import leftovers
from crl_server.operating.counting import counts
from crl_server.operating.notices import PATIENCE, note
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from crl_server.webhooks import outbox
from crl_server.webhooks.events import KINDS
from crl_server.webhooks.outbox import Taken
from tests.crl_server.deployments import DAY, HOUR, NOW, revoke
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_hosts import claim, said

pytestmark = pytest.mark.usefixtures("engine")
TOPICS = ("revocation", "expiry")


def fill(authority: Authority) -> int:
    with authority.store.write() as ledger:
        outbox.begin(ledger, "soc")
        return outbox.fill(ledger, "soc", TOPICS, NOW)


def numbers(authority: Authority) -> list[int]:
    """What is pending, in order; all of it is begun, and struck out."""
    found: list[int] = []
    while True:
        with authority.store.claim() as ledger:
            taken = outbox.claim(ledger, "soc", NOW)
            if taken is None:
                return found
            outbox.delivered(ledger, "soc", taken.number)
            found.append(taken.number)


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


def take(authority: Authority, now: datetime = NOW) -> Taken | None:
    with authority.store.claim() as ledger:
        return outbox.claim(ledger, "soc", now)


def put_off(authority: Authority, taken: Taken, now: datetime, found: str = "status 500") -> bool:
    with authority.store.claim() as ledger:
        return outbox.failed(ledger, "soc", taken, found, now)


def test_an_attempt_belongs_to_one_server_for_a_while(authority: Authority) -> None:
    fill(authority)
    revoke(authority, "first")
    fill(authority)
    first = take(authority)
    assert first is not None
    assert (first.attempt, take(authority)) == (1, None)
    second = take(authority, NOW + outbox.LEASE)  # whoever had it has died, or is very late
    assert second == (first.number, 2)
    assert put_off(authority, first, NOW + outbox.LEASE) is False  # and has no say in it any more
    assert take(authority, NOW + outbox.LEASE + outbox.FIRST_PAUSE) is None


def test_deliveries_that_others_have_locked_are_passed_over(authority: Authority, engine: str) -> None:
    fill(authority)
    revoke(authority, "first")
    revoke(authority, "second")
    fill(authority)
    if engine == "sqlite":  # which has one writer at a time, so that nobody meets a row that is locked
        found = [take(authority) for _ in range(3)]
        assert [one and one.attempt for one in found] == [1, 1, None]
        return
    with authority.store.claim() as ledger, authority.store.claim() as other:
        one, two = outbox.claim(ledger, "soc", NOW), outbox.claim(other, "soc", NOW)
        assert one is not None
        assert two is not None
        assert one.number < two.number
        with authority.store.claim() as third:
            assert outbox.claim(third, "soc", NOW) is None
        # Nor does a delivery that is being begun keep a revocation waiting, or what is written down of it.
        revoke(authority, "third")
        fill(authority)
    assert take(authority) is not None


def test_many_senders_take_each_delivery_once(authority: Authority) -> None:
    fill(authority)
    for label in range(6):
        revoke(authority, label)
    fill(authority)
    taken: list[Taken] = []

    def work() -> None:
        while (found := take(authority)) is not None:
            taken.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 6


def test_what_failed_waits_is_given_up_and_begun_anew(authority: Authority) -> None:
    fill(authority)
    revoke(authority, "first")
    fill(authority)
    moment, attempts = NOW, 0
    while (taken := take(authority, moment)) is not None:
        attempts += 1
        dead = put_off(authority, taken, moment, "status 500 " * 100)
        assert take(authority, moment) is None
        assert dead == (attempts == outbox.ATTEMPTS)
        moment += 7 * HOUR
    assert attempts == outbox.ATTEMPTS
    with authority.store.write() as ledger:
        assert outbox.given_up(ledger) == ["the webhook soc was not told of 1 events, which are given up"]
        assert outbox.revive(ledger, "soc", NOW) == 1
        assert outbox.backlog(ledger, "soc")[:2] == (1, 0)
        outbox.stop(ledger, "soc")
        outbox.forget(ledger, "soc")
        assert outbox.backlog(ledger, "soc") == (0, 0, -1)
        assert outbox.failed(ledger, "soc", Taken(0, 1), "late", NOW) is False


def test_what_was_put_off_by_a_clock_that_was_wrong_is_told_once_it_is_right(authority: Authority) -> None:
    fill(authority)
    revoke(authority, "one")
    fill(authority)
    later = NOW + 365 * DAY
    taken = take(authority, later)
    assert taken is not None
    assert put_off(authority, taken, later) is False
    with authority.store.read() as ledger:
        assert outbox.is_due(ledger, "soc", NOW)
    assert take(authority, NOW) is not None
    assert take(authority, NOW) is None


def test_one_that_is_removed_while_it_is_told_stays_removed(authority: Authority) -> None:
    fill(authority)
    with authority.store.write() as ledger:
        outbox.stop(ledger, "soc")
    revoke(authority, "first")
    with authority.store.write() as ledger:
        assert not outbox.behind(ledger, "soc")
        assert outbox.fill(ledger, "soc", TOPICS, NOW) == 0
        assert outbox.backlog(ledger, "soc") == (0, 0, -1)


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
