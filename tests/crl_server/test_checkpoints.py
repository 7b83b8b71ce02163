"""Reinstatement and checkpoints of the real service: who agrees, what is carried out, what hosts get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crl_server.lists.countersigning import sign
from crl_server.lists.dossier import Dossier
from crl_server.revocation import standing
from crl_server.revocation.reinstating import Wish
from crl_server.revocation.revoking import Order
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from crl_server.storage.ledger import Ledger
from crl_server.storage.store import Store
from crl_server.trust.repository import Repository
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, NOW, digest, revoke
from tests.crl_server.takebacks import (
    ALICE,
    BOB,
    Reader,
    add_rule,
    admit,
    checkpoint,
    prepared,
    reinstate,
    sign_twice,
    subject,
)
from tests.hosts import code_of
from verifier.formats.revocations import prefix_of

pytestmark = pytest.mark.usefixtures("engine")


def test_what_was_not_taken_away_cannot_be_given_back(authority: Authority) -> None:
    def ask(label: object | None, rule: int | None) -> Callable[[], object]:
        named = None if label is None else digest(label)
        return lambda: authority.request_reinstatement(Wish(named, rule, "why"), ALICE, NOW)

    assert code_of(ask("unlisted", None)) == "reinstatement.unknown"
    assert code_of(ask(None, 1)) == "reinstatement.unknown"
    assert code_of(ask(None, None)) == "usage.arguments"
    assert code_of(lambda: authority.approve_reinstatement(1, BOB, NOW)) == "reinstatement.unknown"
    assert code_of(lambda: Wish(digest(1), None, "")) == "usage.arguments"


def test_nobody_approves_their_own_request(authority: Authority, tmp_path: Path) -> None:
    revoke(authority, 1)
    number = authority.request_reinstatement(Wish(digest(1), None, "please"), ALICE, NOW).id
    assert code_of(lambda: authority.approve_reinstatement(number, ALICE, NOW)) == "reinstatement.own"
    assert code_of(lambda: authority.approve_reinstatement(number, ALICE.title(), NOW)) == "reinstatement.own"
    assert checkpoint(authority, tmp_path / "c").digests == ()
    assert Reader(authority).refresh().lists(digest(1))


def test_an_approved_reinstatement_is_carried_out_by_the_checkpoint(authority: Authority, tmp_path: Path) -> None:
    revoke(authority, 1, 2)
    host = Reader(authority)
    host.refresh()
    reinstate(authority, 1)
    assert host.refresh().lists(digest(1))
    (line,) = checkpoint(authority, tmp_path / "c").digests
    assert all(word in line for word in (digest(1), ALICE, BOB, "a mistake"))
    assert not host.refresh().lists(digest(1))
    assert host.refresh().lists(digest(2))
    assert code_of(lambda: authority.approve_reinstatement(1, BOB, NOW)) == "reinstatement.unknown"
    revoke(authority, 1)
    assert host.refresh().lists(digest(1))
    checkpoint(authority, tmp_path / "d")
    assert host.refresh().lists(digest(1))
    assert host.refresh().checkpoint.removed == ()


def test_a_digest_with_a_reason_left_stays(authority: Authority, tmp_path: Path) -> None:
    admit(authority, subject("known"))
    revoke(authority, "known")
    add_rule(authority)
    reinstate(authority, "known", rule=1)
    checkpoint(authority, tmp_path / "c")
    assert Reader(authority).refresh().lists(digest("known"))
    reinstate(authority, "known")
    checkpoint(authority, tmp_path / "d")
    host = Reader(authority)
    assert not host.refresh().lists(digest("known"))
    assert not host.denies(subject("known"))
    assert host.denies(subject("another"))


@pytest.mark.parametrize("reason", ["malicious", "key-compromise"])  # another one than the rule's, and the same
def test_the_end_of_a_rule_frees_what_it_alone_denied(authority: Authority, tmp_path: Path, reason: str) -> None:
    for label in ("a", "b"):
        admit(authority, subject(label))
    add_rule(authority)
    authority.revoke(Order((digest("b"),), reason), ACTOR, NOW)
    host = Reader(authority)
    host.refresh()
    reinstate(authority, None, rule=1)
    summary = checkpoint(authority, tmp_path / "c")
    assert len(summary.rules) == 1
    host.refresh()
    assert [host.denies(subject(label)) for label in ("a", "b", "c")] == [False, True, False]
    admit(authority, subject("c"))
    assert add_rule(authority).rule == "R2"  # a number is never given twice


def test_what_is_revoked_again_while_people_sign_stays_on_the_list(authority: Authority, tmp_path: Path) -> None:
    revoke(authority, 1)
    host = Reader(authority)
    host.refresh()
    reinstate(authority, 1)
    dossier = prepared(authority, tmp_path / "c")
    assert revoke(authority, 1) == 1  # for the same reason once more, which the request does not withdraw
    sign_twice(authority, dossier)
    published = authority.publish_checkpoint(dossier, ACTOR, NOW)
    assert (published.head.seq, published.lists(digest(1))) == (2, True)
    assert prefix_of(digest(1)) not in host.refresh().base
    assert host.refresh().lists(digest(1))


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_checkpoint_takes_the_tail_in_and_hosts_need_not_fetch_it(authority: Authority, tmp_path: Path) -> None:
    revoke(authority, *range(5))
    host = Reader(authority)
    host.refresh()
    summary = checkpoint(authority, tmp_path / "c")
    assert (summary.before, summary.checkpoint.count, summary.checkpoint.through) == (5, 5, 1)
    base = authority.layout.list_file("bases", summary.checkpoint.root)
    hidden = base.rename(base.with_name("hidden"))
    found = host.refresh()
    hidden.rename(base)
    assert (found.head.epoch, len(found.base), found.tail) == (2, 5, ())
    assert revoke(authority, "next") == 2
    assert host.refresh().tail[0].ref.first == 2


def test_no_segment_reaches_across_a_prepared_checkpoint(authority: Authority, tmp_path: Path) -> None:
    revoke(authority, 1)
    dossier = prepared(authority, tmp_path / "c")
    host = Reader(authority)
    for number in range(2, 9):
        revoke(authority, number)
        assert any(segment.ref.last == 1 for segment in host.refresh().tail)
    sign_twice(authority, dossier)
    authority.publish_checkpoint(dossier, ACTOR, NOW)
    assert all(host.refresh().lists(digest(number)) for number in range(1, 9))


def test_an_older_preparation_is_no_longer_accepted(authority: Authority, tmp_path: Path) -> None:
    revoke(authority, 1)
    first = prepared(authority, tmp_path / "c")
    sign_twice(authority, first)
    revoke(authority, 2)
    second = prepared(authority, tmp_path / "d")
    sign_twice(authority, second)
    assert code_of(lambda: authority.publish_checkpoint(first, ACTOR, NOW)) == "checkpoint.outdated"
    authority.publish_checkpoint(second, ACTOR, NOW)
    assert code_of(lambda: authority.publish_checkpoint(second, ACTOR, NOW)) == "checkpoint.outdated"


def test_a_directory_that_exists_is_not_written_to(authority: Authority, tmp_path: Path) -> None:
    assert code_of(lambda: prepared(authority, tmp_path)) == "usage.exists"


@pytest.mark.parametrize("signers", [(), (0,), (0, 0)])
def test_fewer_than_two_signers_put_nothing_in_force(
    authority: Authority, tmp_path: Path, signers: tuple[int, ...]
) -> None:
    dossier = prepared(authority, tmp_path / "c")
    before = authority.layout.head.read_bytes()
    for number in signers:
        sign(dossier, SigningKey.read(authority.layout.offline / f"checkpoint-{number + 1}.pem"))
    assert code_of(lambda: authority.publish_checkpoint(dossier, ACTOR, NOW)) == "checkpoint.signatures"
    assert authority.layout.head.read_bytes() == before
    assert authority.repository.trust().checkpoint.epoch == 1


def test_another_key_signs_no_checkpoint(authority: Authority, tmp_path: Path) -> None:
    dossier = prepared(authority, tmp_path / "c")
    for key in (authority.layout.offline / "targets.pem", authority.layout.online / "timestamp.pem"):
        assert code_of(lambda key=key: sign(dossier, SigningKey.read(key))) == "usage.key"  # type: ignore[misc]


def test_a_crash_between_the_commit_and_the_trust_files_is_mended(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(authority, 1, 2)
    reinstate(authority, 1)
    dossier = prepared(authority, tmp_path / "c")
    sign_twice(authority, dossier)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "publish_checkpoint", dies)
        with pytest.raises(KeyboardInterrupt):
            authority.publish_checkpoint(dossier, ACTOR, NOW)
    host = Reader(authority)
    assert host.refresh().head.epoch == 1
    again = Authority(authority.layout.root)
    again.reconcile(NOW)
    again.close()
    assert host.refresh().head.epoch == 2
    assert not host.refresh().lists(digest(1))
    assert host.refresh().lists(digest(2))


def test_an_approval_that_arrives_while_a_checkpoint_is_prepared_is_carried_out_by_the_next(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands either in this one's part of the audit log and is carried out, or in neither."""
    revoke(authority, 1, 2)
    number = authority.request_reinstatement(Wish(digest(1), None, "it was a mistake"), ALICE, NOW).id
    current = authority.publisher.publish(NOW)
    write, approving = Store.write, iter([number])

    @contextmanager
    def written(store: Store) -> Iterator[Ledger]:
        try:
            with write(store) as ledger:
                yield ledger
        finally:
            for due in approving:  # the first moment at which anybody else can write
                authority.approve_reinstatement(due, BOB, NOW)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", written)
        authority.checkpoints.prepare(current, tmp_path / "c", ACTOR, NOW)
    for name in ("c", "d"):
        dossier = Dossier(tmp_path / name) if name == "c" else prepared(authority, tmp_path / name)
        sign_twice(authority, dossier)
        authority.publish_checkpoint(dossier, ACTOR, NOW)
    assert not Reader(authority).refresh().lists(digest(1))


def test_a_rule_that_is_not_published_yet_waits_for_the_next_checkpoint(authority: Authority, tmp_path: Path) -> None:
    """Signers would take it for one that the service has slipped in."""
    add_rule(authority, "team-a")
    host = Reader(authority)
    host.refresh()
    current = authority.publisher.publish(NOW)
    with authority.store.write() as ledger:
        standing.commit(ledger, NewRule("signer", {"principal": "team-b"}, "key-compromise"), 0, ACTOR, NOW)
    authority.checkpoints.prepare(current, tmp_path / "c", ACTOR, NOW)
    dossier = Dossier(tmp_path / "c")
    sign_twice(authority, dossier)
    published = authority.publish_checkpoint(dossier, ACTOR, NOW)
    assert [rule.id for rule in published.rules.rules] == ["R1", "R2"]
    assert [rule.id for rule in host.refresh().rules.rules] == ["R1", "R2"]
