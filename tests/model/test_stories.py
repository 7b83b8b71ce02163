"""Lives that chance plays too rarely, each with what a careless rule would have made of it."""

from __future__ import annotations

import pytest

from tests.model.deployment import digest
from tests.model.test_revocation_life import Life
from verifier.errors import Refused

NOTHING = frozenset[int]()


@pytest.fixture
def life() -> Life:
    new = Life()
    new.admit(1)
    new.revoke(frozenset({1, 2}), crash=False)
    new.refresh(0)
    return new


def reinstate(life: Life, place: int | None, rule: int | None = None) -> None:
    life.take_back(place, rule, "alice", "bob")


def test_a_host_that_slept_through_a_reinstatement_wakes_up(life: Life) -> None:
    reinstate(life, 0)
    life.checkpoints(3)
    life.refresh(0)
    assert not life.hosts[0].denies(1)
    assert life.hosts[0].denies(2)


def test_a_host_that_slept_through_the_end_of_a_rule_wakes_up(life: Life) -> None:
    life.add_rule("a", frozenset({5}), crash=False)
    life.refresh(0)
    assert life.hosts[0].denies(3)
    assert not life.hosts[0].denies(5)
    reinstate(life, None, rule=1)
    life.checkpoints(3)
    life.refresh(0)
    assert not life.hosts[0].denies(3)
    assert life.hosts[0].denies(1)  # it has a reason of its own


def test_what_is_revoked_again_while_people_sign_stays_revoked(life: Life) -> None:
    reinstate(life, 0)
    life.prepare()
    life.revoke(frozenset({1}), crash=True)
    life.checkpoint()
    life.refresh(0)
    assert life.hosts[0].denies(1)
    life.lie(0, frozenset({1}), NOTHING, NOTHING, jump=1, from_host=True)
    assert life.hosts[0].denies(1)


def test_what_nobody_else_approved_stays(life: Life) -> None:
    life.take_back(0, None, "alice", "alice")
    life.checkpoints(1)
    life.refresh(0)
    assert life.hosts[0].denies(1)


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_a_host_that_was_lied_to_and_slept_through_the_recovery_wakes_up(life: Life, epochs: int) -> None:
    life.lie(0, NOTHING, frozenset({4}), NOTHING, jump=1_000_000, from_host=True)
    assert life.hosts[0].denies(4)
    with pytest.raises(Refused) as caught:
        life.hosts[0].refresh(life.deployment.view, life.deployment.now)
    assert caught.value.code == "list.rollback"
    life.recover()
    if epochs:
        life.checkpoints(epochs)
    life.refresh(0)
    assert not life.hosts[0].denies(4)
    assert life.hosts[0].denies(1)


def test_the_stolen_key_is_worth_nothing_after_the_recovery(life: Life) -> None:
    life.lie(1, NOTHING, NOTHING, NOTHING, jump=1, from_host=True)
    thief = life.thief
    assert thief is not None
    life.recover()
    life.refresh(0)
    forged = thief.forge(
        life.deployment,
        life.deployment.trust,
        base_on=life.hosts[0].list,
        hide=NOTHING,
        invent=frozenset({4}),
        hide_rules=NOTHING,
        jump=5,
    )
    with pytest.raises(Refused) as caught:
        life.show(life.hosts[0], forged)
    assert caught.value.code == "list.signature"


def test_a_crash_between_commit_and_publication_loses_nothing(life: Life) -> None:
    life.revoke(frozenset({3}), crash=True)
    assert not life.deployment.current.lists(digest(3))
    life.publish()
    life.refresh(0)
    assert life.hosts[0].denies(3)


def test_a_host_that_slept_takes_segments_that_were_merged_meanwhile(life: Life) -> None:
    for artifact in (3, 4, 0):
        life.revoke(frozenset({artifact}), crash=False)
    life.merge(frozenset({5}))
    assert len(life.deployment.current.head.segments) == 2
    life.refresh(0)
    life.checkpoints(1)
    for number in range(3):
        life.refresh(number)
        assert all(life.hosts[number].denies(artifact) for artifact in range(6))
