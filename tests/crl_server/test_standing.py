"""Standing rules of the real service: which are taken, what they reach, what room and keys they leave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crl_server.revocation.revoking import Order, Why
from crl_server.revocation.standing import NewRule
from crl_server.revocation.sweeping import Sweep
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, NOW, digest, revoke
from tests.crl_server.takebacks import (
    Reader,
    add_rule,
    admit,
    checkpoint,
    reinstate,
    subject,
)
from tests.hosts import code_of
from verifier.errors import UsageError

pytestmark = pytest.mark.usefixtures("engine")


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
