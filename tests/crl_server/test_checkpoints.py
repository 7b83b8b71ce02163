"""Rules, reinstatement and checkpoints of the real service: what is refused, what signers see, what hosts get."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crl_server.lists.countersigning import review, sign
from crl_server.lists.dossier import Dossier
from crl_server.records.audit import Act
from crl_server.revocation import standing
from crl_server.revocation.reinstating import Wish
from crl_server.revocation.revoking import Order, Why
from crl_server.revocation.standing import NewRule
from crl_server.revocation.sweeping import Sweep
from crl_server.service import Authority
from crl_server.storage.ledger import Ledger
from crl_server.storage.store import Store
from crl_server.trust.repository import Repository
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.takebacks import (
    Reader,
    add_rule,
    admit,
    checkpoint,
    prepared,
    root_of,
    sign_twice,
    subject,
)
from verifier.errors import LoadlockError, UsageError
from verifier.formats.revocations import dump_set_file, prefix_of, sha256_hex
from verifier.formats.text import Digest

pytestmark = pytest.mark.usefixtures("engine")

ALICE, BOB = "token:alice", "token:bob"


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    yield new
    new.close()


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        call()
    assert str(caught.value).replace("\n", "").isprintable()
    return caught.value.code


def reinstate(authority: Authority, label: object | None, rule: int | None = None) -> int:
    """Ask as Alice, approve as Bob."""
    wish = Wish(None if label is None else digest(label), rule, "it was a mistake")
    number = authority.request_reinstatement(wish, ALICE, NOW).id
    authority.approve_reinstatement(number, BOB, NOW)
    return number


# -- standing rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("moon-phase", {}),
        ("signer", {}),
        ("signer", {"principal": "team-a", "key": digest(1)}),
        ("component", {"purl": "pkg:pypi/foo@1.0"}),
        ("component", {"purl": "pkg:pypi/foo", "range": "vers:pypi/<2"}),
        ("component", {"purl": "foo"}),
        ("plugin", {"id": "Not An Id"}),
        ("plugin", {"id": "x", "range": "x" * 5000}),
        ("statement", {"digest": "9f86"}),
        ("builder", {"id": ""}),
    ],
)
def test_a_rule_that_hosts_would_deny_everything_by_is_refused(kind: str, match: dict[str, Any]) -> None:
    assert code_of(lambda: NewRule(kind, match, "malicious")) == "usage.arguments"
    with pytest.raises(UsageError):
        NewRule("plugin", {"id": "x"}, "because")


def test_a_rule_reaches_what_was_admitted_and_what_never_will_be(authority: Authority) -> None:
    known, other = subject("known"), subject("other", signer="team-b")
    for one in (known, other):
        admit(authority, one)
    wanted = NewRule("signer", {"principal": "team-a"}, "key-compromise")
    radius = authority.radius(wanted, NOW)
    assert (radius.artifacts, radius.plugins) == (1, ("csv_exporter",))
    assert [found.digest for found in radius.reached] == [known.artifact]
    done = authority.add_rule(wanted, ACTOR, NOW)
    assert (done.rule, done.revoked, done.already) == ("R1", (known.artifact,), ())
    host = Reader(authority)
    assert host.refresh().lists(known.artifact)
    assert not host.denies(other)
    assert host.denies(subject("never seen"))
    assert code_of(lambda: admit(authority, subject("never seen"))) == "rule.matched"
    admit(authority, subject("third", signer="team-b"))


def test_a_dry_run_changes_nothing(authority: Authority) -> None:
    admit(authority, subject("known"))
    before = authority.layout.head.read_bytes(), authority.verify_audit(NOW)
    authority.radius(NewRule("component", {"purl": "pkg:pypi/requests", "range": "<2.32"}, "vulnerability"), NOW)
    assert (authority.layout.head.read_bytes(), authority.verify_audit(NOW)) == before


def test_a_rule_that_matches_nothing_yet_is_published_as_an_event(authority: Authority) -> None:
    host = Reader(authority)
    host.refresh()
    assert add_rule(authority).seq == 1
    assert [rule.id for rule in host.refresh().rules.rules] == ["R1"]
    add_rule(authority, "team-b", "excepted")
    assert [rule.id for rule in host.refresh().rules.rules] == ["R1", "R2"]
    assert not host.denies(subject("excepted", signer="team-b"))


def test_one_idempotency_key_adds_one_rule(authority: Authority) -> None:
    wanted = NewRule("signer", {"principal": "team-a"}, "malicious")
    first = authority.add_rule(wanted, ACTOR, NOW, "once")
    assert authority.add_rule(wanted, ACTOR, NOW, "once") == first
    other = NewRule("signer", {"principal": "team-b"}, "malicious")
    assert code_of(lambda: authority.add_rule(other, ACTOR, NOW, "once")) == "request.idempotency"


def test_made_up_digests_do_not_take_the_room_of_what_is_in_use(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever may revoke, or has stolen the token of somebody who may, could fill the list with nothing."""
    monkeypatch.setattr("crl_server.lists.rules.MAX_TAIL", 8)
    monkeypatch.setattr("crl_server.lists.rules.RESERVED", 3)
    for label, signer in (("in use", "team-b"), ("by rule", "team-a"), ("in a sweep", "team-b"), ("last", "team-b")):
        admit(authority, subject(label, signer=signer))
    revoke(authority, *range(5))
    log = authority.verify_audit(NOW)
    assert code_of(lambda: revoke(authority, "made up")) == "list.full"
    assert code_of(lambda: revoke(authority, "made up", "in use")) == "list.full"
    assert code_of(lambda: authority.sweep(Sweep((digest("made up"),), Why("mistake")), ACTOR, NOW)) == "list.full"
    assert authority.verify_audit(NOW) == log
    revoke(authority, "in use")
    assert add_rule(authority).revoked == (digest("by rule"),)
    authority.sweep(Sweep((digest("in a sweep"),), Why("mistake")), ACTOR, NOW)
    assert code_of(lambda: revoke(authority, "last")) == "list.full"
    checkpoint(authority, tmp_path / "dossier")
    revoke(authority, "last", "made up")


def test_what_was_taken_back_is_not_answered_as_revoked_under_its_old_key(authority: Authority, tmp_path: Path) -> None:
    """Nor is it told as a fault of the server: whoever means it revokes it once more."""
    order, rule = Order((digest("x"),), "mistake"), NewRule("signer", {"principal": "team-a"}, "malicious")
    sweep = Sweep((digest("y"),), Why("mistake"), (NewRule("signer", {"principal": "team-b"}, "malicious"),))
    calls: tuple[Callable[[str], object], ...] = (
        lambda key: authority.revoke(order, ACTOR, NOW, f"{key} revoke"),
        lambda key: authority.add_rule(rule, ACTOR, NOW, f"{key} rule"),
        lambda key: authority.sweep(sweep, ACTOR, NOW, f"{key} sweep"),
    )
    for call in calls:
        assert call("old") == call("old")
    for label, number in (("x", None), ("y", None), (None, 1), (None, 2)):
        reinstate(authority, label, number)
    checkpoint(authority, tmp_path / "dossier")
    for call in calls:
        log = authority.verify_audit(NOW)
        assert code_of(partial(call, "old")) == "request.idempotency"
        assert authority.verify_audit(NOW) == log
        call("new")
    calls[0]("old")  # it is on the list again, and answered as it was


# -- reinstatement -----------------------------------------------------------------------------------------------------


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


# -- what a signer refuses ---------------------------------------------------------------------------------------------


def edit_checkpoint(dossier: Dossier, **fields: Any) -> None:
    """A hostile service writes another checkpoint, with metadata that fits."""
    document = json.dumps(json.loads(dossier.checkpoint) | fields).encode()
    metadata = Repository(dossier.trust).unsigned_checkpoints(document, NOW)
    (dossier.directory / "checkpoint.json").write_bytes(document)
    dossier.write_metadata(metadata)


def other_base(dossier: Dossier, *labels: object, **fields: Any) -> None:
    data = dump_set_file(prefix_of(digest(label)) for label in labels)
    (dossier.directory / "public/lists/bases" / sha256_hex(data)).write_bytes(data)
    edit_checkpoint(dossier, root=sha256_hex(data), count=len(labels), **fields)


def other_rules(dossier: Dossier, *rules: dict[str, Any], **fields: Any) -> None:
    data = json.dumps({"v": 1, "rules": rules}).encode()
    (dossier.directory / "public/lists/rules" / sha256_hex(data)).write_bytes(data)
    edit_checkpoint(dossier, rules=sha256_hex(data), **fields)


RULE = {"id": "R1", "kind": "signer", "match": {"principal": "team-a"}, "reason": "key-compromise", "except": []}
HOSTILE: dict[str, tuple[Callable[[Dossier], object], str]] = {
    "an entry lost": (lambda d: other_base(d, 1, 2), "checkpoint.unfounded"),
    "an entry lost, named, not agreed on": (
        lambda d: other_base(d, 1, 2, removed=[digest(3).hex]),
        "checkpoint.unfounded",
    ),
    "an entry added": (lambda d: other_base(d, 1, 2, 3, 4), "checkpoint.unfounded"),
    "another count": (lambda d: edit_checkpoint(d, count=4), "checkpoint.unfounded"),
    "removed though it is in the base": (
        lambda d: edit_checkpoint(d, removed=[digest(3).hex]),
        "checkpoint.unfounded",
    ),
    "another epoch": (lambda d: edit_checkpoint(d, epoch=9), "checkpoint.unfounded"),
    "the same epoch": (lambda d: edit_checkpoint(d, epoch=1), "checkpoint.unfounded"),
    "another deployment": (lambda d: edit_checkpoint(d, deployment="globex"), "checkpoint.unfounded"),
    "beyond the published list": (lambda d: edit_checkpoint(d, through=99), "checkpoint.unfounded"),
    "a rule lost": (other_rules, "checkpoint.unfounded"),
    "a rule lost, named, not agreed on": (lambda d: other_rules(d, removed_rules=["R1"]), "checkpoint.unfounded"),
    "a rule changed": (lambda d: other_rules(d, RULE | {"reason": "mistake"}), "checkpoint.unfounded"),
    "a rule added": (lambda d: other_rules(d, RULE, RULE | {"id": "R2"}), "checkpoint.unfounded"),
    "an exception that nobody agreed on": (
        lambda d: other_rules(d, RULE | {"except": [digest(7)]}),
        "checkpoint.unfounded",
    ),
    "another audit state": (
        lambda d: edit_checkpoint(d, audit={"count": 2, "sha256": "0" * 64}),
        "audit.chain",
    ),
    "an entry of the log gone": (
        lambda d: (d.directory / "audit.jsonl").write_bytes(b"\n".join(d.log[:-1])),
        "audit.chain",
    ),
    "the log edited": (
        lambda d: (d.directory / "audit.jsonl").write_bytes(b"\n".join(d.log).replace(b"malicious", b"mistaken!")),
        "audit.chain",
    ),
    "metadata that names another file": (
        lambda d: (d.directory / "checkpoint.json").write_bytes(d.checkpoint + b" "),
        "trust.metadata",
    ),
    "metadata that is none": (lambda d: d.write_metadata(b"{}"), "trust.metadata"),
    "a damaged head": (
        lambda d: (d.directory / "public/lists/head.json").write_bytes(d.head.replace(b"Q", b"R", 1)),
        "list.signature",
    ),
}


@pytest.fixture(scope="module")
def laid_out(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Authority, Path]]:
    folder = tmp_path_factory.mktemp("hostile")
    authority = made(folder / "acme")
    revoke(authority, 1, 2, 3)
    add_rule(authority)
    prepared(authority, folder / "c")
    yield authority, folder / "c"
    authority.close()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_signer_refuses_what_the_list_and_the_log_do_not_say(
    laid_out: tuple[Authority, Path], tmp_path: Path, case: str
) -> None:
    authority, original = laid_out
    review(Dossier(original), root_of(authority), NOW)
    shutil.copytree(original, tmp_path / "c")
    for path in (tmp_path / "c").rglob("*"):
        path.chmod(0o755)
    attack, code = HOSTILE[case]
    attack(Dossier(tmp_path / "c"))
    assert code_of(lambda: review(Dossier(tmp_path / "c"), root_of(authority), NOW)) == code


def test_nothing_leaves_the_list_with_a_rule_that_stays(authority: Authority, tmp_path: Path) -> None:
    """Two people agreed to end the rule; a hostile service keeps it, and takes back something else instead."""
    revoke(authority, 1, 2, 3)
    add_rule(authority)
    reinstate(authority, None, rule=1)
    dossier = prepared(authority, tmp_path / "c")
    other_base(dossier, 1, 2, removed=[digest(3).hex])
    assert f"{digest(3)}: with R1" in review(dossier, root_of(authority), NOW).digests  # the signer is told
    other_rules(dossier, RULE, removed_rules=[])
    assert code_of(lambda: review(dossier, root_of(authority), NOW)) == "checkpoint.unfounded"


def test_a_signer_refuses_another_deployment_and_an_old_list(laid_out: tuple[Authority, Path]) -> None:
    authority, original = laid_out
    assert code_of(lambda: review(Dossier(original), Digest(digest("root")), NOW)) == "checkpoint.unfounded"
    assert code_of(lambda: review(Dossier(original), root_of(authority), NOW + 40 * DAY)) == "checkpoint.unfounded"
    summary = review(Dossier(original), root_of(authority), NOW + 20 * DAY + HOUR)
    assert (summary.digests, summary.rules, summary.keys) == ((), (), ())
    assert summary.checkpoint.count == 3


def test_an_approval_by_the_requester_in_the_log_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    """Only a hostile service would have written it."""
    revoke(authority, 1)
    with authority.store.write() as ledger:
        ledger.record(Act(ALICE, "reinstatement.request", digest(1), {"id": 1, "note": "x"}), NOW)
        ledger.record(Act(ALICE, "reinstatement.approve", digest(1), {"id": 1, "by": BOB, "note": "x"}), NOW)
    dossier = prepared(authority, tmp_path / "c", NOW + timedelta(hours=13))
    now = NOW + timedelta(hours=13)
    assert code_of(lambda: review(dossier, root_of(authority), now)) == "checkpoint.unfounded"


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


@pytest.mark.parametrize("approver", ["oidc:corp:alice@acme.example", "oidc:corp:Alice@Acme.example"])
def test_one_person_under_two_spellings_is_no_second_person_for_signers(
    authority: Authority, tmp_path: Path, approver: str
) -> None:
    revoke(authority, 1)
    asked = Act("oidc:corp:alice@acme.example", "reinstatement.request", digest(1), {"id": 1, "note": "x"})
    with authority.store.write() as ledger:
        ledger.record(asked, NOW)
        ledger.record(Act(approver, "reinstatement.approve", digest(1), {"id": 1, "by": asked.actor}), NOW)
    now = NOW + timedelta(hours=13)
    dossier = prepared(authority, tmp_path / "c", now)
    assert code_of(lambda: review(dossier, root_of(authority), now)) == "checkpoint.unfounded"
