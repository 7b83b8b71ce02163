"""Publishing: what is acknowledged is on the signed list; what fails leaves the list before; nothing goes back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

import crl_server.lists.public_tree
from crl_server.lists import rules
from crl_server.records.audit import parse_entry
from crl_server.revocation.revoking import Order
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, revoke
from tests.crl_server.tampering import backup, restore, tamper
from tests.hosts import code_of
from verifier.errors import Refused, Unreachable, UsageError
from verifier.files import write_together
from verifier.formats import dsse
from verifier.formats.revocations import parse_head, sha256_hex
from verifier.formats.text import Digest, Hex
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, check_history, open_list

pytestmark = pytest.mark.usefixtures("engine")


def as_a_host(authority: Authority) -> RevocationList:
    """The published list as a host reads it, from nothing but the static tree."""
    lists = authority.layout.public / "lists"

    def files(kind: FileKind, name: Hex) -> bytes:
        return (lists / kind / name).read_bytes()

    return open_list((lists / "head.json").read_bytes(), files, authority.repository.trust(), NOW + 60 * DAY)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digests", "reason", "note"),
    [
        ((), "malicious", ""),
        (tuple(digest(number) for number in range(1001)), "malicious", ""),
        ((digest(1), digest(1)), "malicious", ""),
        ((digest(1),), "because", ""),
        ((digest(1),), "", ""),
        ((digest(1),), "malicious", "x" * 2001),
        ((digest(1),), "malicious", "a\x1b[31mred"),
        ((digest(1),), "malicious", "null \x00"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(digests: tuple[Digest, ...], reason: str, note: str) -> None:
    with pytest.raises(UsageError) as caught:
        Order(digests, reason, note)
    assert caught.value.code == "usage.arguments"


def test_a_full_tail_takes_nothing_more(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_TAIL", 3)
    monkeypatch.setattr(rules, "RESERVED", 0)  # what it is kept for has a test of its own
    revoke(authority, 1, 2)
    assert code_of(lambda: revoke(authority, 3, 4)) == "list.full"
    assert not as_a_host(authority).lists(digest(3))
    revoke(authority, 2, 3)


def test_a_disk_error_leaves_the_old_list_and_the_next_try_publishes(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(authority, "old")
    for survived in (0, 1):  # the segment file, then the head
        left = survived

        def failing(files: Mapping[Path, bytes], mode: int = 0o644) -> None:
            nonlocal left
            if left == 0:
                raise Unreachable("io.failed", "the disk is full")
            left -= 1
            write_together(files, mode)

        monkeypatch.setattr(crl_server.lists.public_tree, "write_together", failing)
        assert code_of(partial(revoke, authority, f"new {survived}")) == "io.failed"
        assert as_a_host(authority).head.seq == 1
        assert as_a_host(authority).lists(digest("old"))
        assert not as_a_host(authority).lists(digest("new 0"))
    monkeypatch.undo()
    authority.reconcile(NOW)
    assert as_a_host(authority).head.seq == 3
    assert all(as_a_host(authority).lists(digest(name)) for name in ("old", "new 0", "new 1"))


def test_a_database_that_was_set_back_is_noticed(authority: Authority) -> None:
    revoke(authority, 1)
    before = backup(authority)
    revoke(authority, 2)
    restore(authority, before)
    assert code_of(lambda: authority.reconcile(NOW + HOUR)) == "server.behind"
    for number in range(3, 6):  # not even when as many events have been committed as were lost
        assert code_of(partial(revoke, authority, number)) == "server.behind"
    assert as_a_host(authority).lists(digest(2))


def test_an_entry_removed_from_the_database_is_not_signed_away(authority: Authority) -> None:
    revoke(authority, 1)
    revoke(authority, 2)
    tamper(authority, "DELETE FROM revocation WHERE digest = :digest", digest=digest(1))
    tamper(authority, "DELETE FROM list_entry WHERE digest = :digest", digest=digest(1))
    tamper(authority, "DELETE FROM list_segment")
    with pytest.raises(Refused) as caught:
        revoke(authority, 3)
    assert caught.value.code == "server.lint"
    assert "entries of the events 1 to 1 are gone" in caught.value.found
    assert as_a_host(authority).lists(digest(1))


def test_a_head_key_that_the_policy_does_not_name_signs_nothing(authority: Authority) -> None:
    shutil.copy(authority.layout.online / "timestamp.pem", authority.layout.online / "head.pem")
    with pytest.raises(Refused) as caught:
        revoke(authority, 1)
    assert caught.value.code == "server.lint"
    assert "a signature by" in caught.value.found
    assert as_a_host(authority).head.seq == 0


@pytest.mark.parametrize("lag", [timedelta(minutes=6), 400 * DAY])
def test_a_clock_set_back_signs_nothing(authority: Authority, lag: timedelta) -> None:
    assert code_of(lambda: revoke(authority, 1, now=NOW - lag)) == "clock.behind"
    assert as_a_host(authority).head.seq == 0
    authority.reconcile(NOW)  # the clock was put right: what was committed is published
    assert as_a_host(authority).lists(digest(1))


# -- what is published -------------------------------------------------------------------------------------------------


def test_what_is_acknowledged_is_on_the_list_that_hosts_read(authority: Authority) -> None:
    for number in range(1, 9):
        before = as_a_host(authority)
        assert revoke(authority, number, now=NOW + number * HOUR / 60) == number
        after = as_a_host(authority)
        check_history(before, after)
        assert after.head.seq == number
        assert all(after.lists(digest(known)) for known in range(1, number + 1))
        assert not after.lists(digest(number + 1))
        # What is new stands alone: a host that is up to date fetches nothing that it has.
        assert after.tail[-1].ref.first == number
    assert len(after.tail) <= 4


def test_one_order_is_one_event(authority: Authority) -> None:
    assert revoke(authority, *range(500)) == 1
    (segment,) = as_a_host(authority).tail
    assert segment.ref.count == 500


def test_a_second_reason_is_kept_and_changes_nothing_on_the_list(authority: Authority) -> None:
    revoke(authority, 1)
    before = authority.layout.head.read_bytes()
    done = authority.revoke(Order((digest(1),), "vulnerability", "also that"), ACTOR, NOW)
    assert (done.seq, done.revoked, done.already) == (1, (), (digest(1),))
    with authority.store.read() as ledger:
        assert [given.reason for given in ledger.reasons(digest(1))] == ["malicious", "vulnerability"]
    assert authority.layout.head.read_bytes() == before


def test_two_digests_of_one_prefix_are_one_entry(authority: Authority) -> None:
    twins = tuple(Digest(f"sha256:{'0' * 32}{number:032x}") for number in range(3))
    authority.revoke(Order(twins[:2], "malicious"), ACTOR, NOW)
    authority.revoke(Order(twins[2:], "malicious"), ACTOR, NOW)
    assert [segment.ref.count for segment in as_a_host(authority).tail] == [1, 1]


def test_a_lost_or_damaged_segment_is_written_again(authority: Authority) -> None:
    revoke(authority, 1, 2, 3)
    path = authority.layout.list_file("segments", as_a_host(authority).tail[0].ref.sha256)
    whole = path.read_bytes()
    path.unlink()
    revoke(authority, 4)
    assert path.read_bytes() == whole
    path.chmod(0o644)
    path.write_bytes(whole[:-1])
    revoke(authority, 5)
    assert path.read_bytes() == whole
    assert as_a_host(authority).lists(digest(1))


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
def test_a_damaged_head_is_replaced(authority: Authority, damage: bytes) -> None:
    revoke(authority, 1)
    authority.layout.head.write_bytes(damage)
    authority.reconcile(NOW)
    assert as_a_host(authority).lists(digest(1))


def test_every_head_stands_in_the_audit_log_before_it_is_out(authority: Authority) -> None:
    revoke(authority, 1)
    head = dsse.parse_envelope(authority.layout.head.read_bytes()).unverified_payload
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    published = [entry for entry in entries if entry.action == "list.publish"][-1]
    assert published.detail == {"epoch": 1, "seq": 1, "payload": sha256_hex(head)}
    assert parse_head(head).audit.count == published.index


# -- time --------------------------------------------------------------------------------------------------------------


def test_after_downtime_everything_online_is_signed_again(authority: Authority) -> None:
    revoke(authority, 1)
    later = NOW + 20 * DAY
    assert code_of(lambda: authority.standing(later)) == "server.not-ready"
    authority.reconcile(later)
    standing = authority.standing(later)
    assert standing.revocations.head.seq == 1
    assert standing.revocations.head.expires.instant == later + DAY
    assert all(standing.trust.roles[role].expires > later for role in ("snapshot", "timestamp"))
    assert standing.revocations.lists(digest(1))


def test_a_head_is_signed_again_when_half_of_its_time_is_gone(authority: Authority) -> None:
    first = authority.layout.head.read_bytes()
    authority.maintain(NOW + 11 * HOUR)
    assert authority.layout.head.read_bytes() == first
    authority.maintain(NOW + 13 * HOUR)
    assert as_a_host(authority).head.expires.instant == NOW + 37 * HOUR
    assert as_a_host(authority).head.seq == 0


def test_maintenance_without_need_writes_nothing(authority: Authority) -> None:
    def tree() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in authority.layout.public.rglob("*")}

    before, log = tree(), authority.verify_audit(NOW)
    authority.maintain(NOW + HOUR)
    assert (tree(), authority.verify_audit(NOW)) == (before, log)


@pytest.mark.parametrize(
    ("days", "told"),
    [(0, 0), (19, 0), (21, 2), (29, 2)],  # policy and its role, in the last ten days of thirty
)
def test_what_only_people_can_renew_is_announced(authority: Authority, days: int, told: int) -> None:
    authority.maintain(NOW + days * DAY)
    assert len(authority.warnings(NOW + days * DAY)) == told


# -- several at once ---------------------------------------------------------------------------------------------------


def test_two_publishers_at_once_lose_nothing(authority: Authority) -> None:
    other = Authority(authority.layout.root)
    acknowledged: list[int] = []

    def work(through: Authority, numbers: range) -> None:
        for number in numbers:
            revoke(through, number)
            acknowledged.append(number)

    threads = [
        threading.Thread(target=work, args=(each, range(start, start + 12)))
        for each, start in ((authority, 0), (authority, 100), (other, 200))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acknowledged) == 36
    published = as_a_host(authority)
    assert published.head.seq == 36
    assert all(published.lists(digest(number)) for number in acknowledged)
    assert authority.verify_audit(NOW).count >= 36
    other.close()
