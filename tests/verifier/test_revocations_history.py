"""The client's rules for one revocation list after another: nothing that was revoked disappears unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.verifier.publisher import HOUR, NOW, SECOND, STRANGER, Ground, Publisher, code, digest, policy, signed
from verifier.errors import Refused
from verifier.formats.revocations import EMPTY_RULES, EMPTY_SET
from verifier.formats.text import Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import apply_head, check_history, open_list


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def ground(publisher: Publisher) -> Ground:
    return Ground(policy(), publisher.checkpoint(base=[1, 2, 3]))


# -- rule 4: nothing disappears within an epoch ------------------------------------------------------------------------


@pytest.fixture
def current(publisher: Publisher, ground: Ground) -> RevocationList:
    head = publisher.head(
        [publisher.segment(11, 12, [4, 5]), publisher.segment(13, 13, [6])], rules=publisher.rules(1, 2)
    )
    return apply_head(None, signed(head), publisher, ground, NOW)


def following(
    publisher: Publisher, *parts: tuple[int, int, Sequence[int]], rules: Sequence[int] = (1, 2), **changes: Any
) -> bytes:
    head = publisher.head([publisher.segment(*part) for part in parts], rules=publisher.rules(*rules), **changes)
    return signed(head)


FORKS: dict[str, tuple[tuple[tuple[int, int, Sequence[int]], ...], Sequence[int]]] = {
    "an entry gone": (((11, 12, [4]), (13, 13, [6]), (14, 14, [7])), (1, 2)),
    "an entry exchanged": (((11, 12, [4, 8]), (13, 13, [6]), (14, 14, [7])), (1, 2)),
    "all entries gone, more come": (((11, 14, [7, 8, 9]),), (1, 2)),
    "a rule gone": (((11, 12, [4, 5]), (13, 14, [6])), (1,)),
    "a rule exchanged": (((11, 12, [4, 5]), (13, 14, [6])), (1, 3)),
    "all rules gone": (((11, 12, [4, 5]), (13, 14, [6])), ()),
    "an equal number, an entry more": (((11, 12, [4, 5]), (13, 13, [6, 7])), (1, 2)),
    "an equal number, an entry less": (((11, 12, [4, 5]), (13, 13, [])), (1, 2)),
    "an equal number, a rule more": (((11, 12, [4, 5]), (13, 13, [6])), (1, 2, 3)),
}


@pytest.mark.parametrize("name", FORKS)
def test_forks(publisher: Publisher, ground: Ground, current: RevocationList, name: str) -> None:
    parts, rules = FORKS[name]
    envelope = following(publisher, *parts, rules=rules)
    assert code(lambda: apply_head(current, envelope, publisher, ground, NOW)) == "list.fork"


@pytest.mark.parametrize("change", [{"reason": "mistake"}, {"kind": "builder"}, {"except": [f"sha256:{digest(9)}"]}])
def test_a_rule_that_says_something_else(
    publisher: Publisher, ground: Ground, current: RevocationList, change: dict[str, Any]
) -> None:
    head = publisher.head(
        [publisher.segment(11, 12, [4, 5]), publisher.segment(13, 14, [6])], rules=publisher.rules(1, 2, **change)
    )
    assert code(lambda: apply_head(current, signed(head), publisher, ground, NOW)) == "list.fork"


def test_a_lower_number(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    envelope = following(publisher, (11, 12, [4, 5, 6]))
    assert code(lambda: apply_head(current, envelope, publisher, ground, NOW)) == "list.rollback"


def test_an_equal_number_issued_before(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    envelope = following(publisher, (11, 12, [4, 5]), (13, 13, [6]), issued=Time.of(NOW - SECOND))
    assert code(lambda: apply_head(current, envelope, publisher, ground, NOW)) == "list.rollback"


def test_a_lower_epoch(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    older = replace(ground, checkpoint=publisher.checkpoint(base=[1, 2, 3], epoch=6))
    envelope = following(publisher, (11, 12, [4, 5]), (13, 20, [6]), epoch=6)
    assert code(lambda: apply_head(current, envelope, publisher, older, NOW)) == "list.rollback"


def test_a_second_checkpoint_of_one_epoch(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    other = replace(ground, checkpoint=publisher.checkpoint(base=[1, 2], removed=[digest(3)]))
    envelope = following(publisher, (11, 12, [4, 5]), (13, 14, [6]))
    assert code(lambda: apply_head(current, envelope, publisher, other, NOW)) == "list.fork"


HONEST: dict[str, tuple[tuple[tuple[int, int, Sequence[int]], ...], Sequence[int]]] = {
    "the same again": (((11, 12, [4, 5]), (13, 13, [6])), (1, 2)),
    "the same, neighbours merged": (((11, 13, [4, 5, 6]),), (1, 2)),
    "more entries": (((11, 12, [4, 5]), (13, 13, [6]), (14, 15, [7, 8])), (1, 2)),
    "more entries, all merged": (((11, 15, [4, 5, 6, 7, 8]),), (1, 2)),
    "an event without an entry": (((11, 13, [4, 5, 6]), (14, 14, [])), (1, 2)),
    "a rule more": (((11, 13, [4, 5, 6]), (14, 14, [])), (1, 2, 3)),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_successors(publisher: Publisher, ground: Ground, current: RevocationList, name: str) -> None:
    parts, rules = HONEST[name]
    issued = Time.of(NOW + HOUR)
    envelope = following(publisher, *parts, rules=rules, issued=issued)
    found = apply_head(current, envelope, publisher, ground, NOW + HOUR)
    assert all(found.lists(digest(number)) for number in (1, 2, 3, 4, 5, 6))
    assert found.head.issued == issued


# -- rule 5: the base --------------------------------------------------------------------------------------------------


def test_a_new_base_is_computed_and_not_fetched(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    checkpoint = publisher.checkpoint(base=[2, 3, 4, 5], epoch=8, through=12, removed=[digest(1)])
    envelope = following(publisher, (13, 13, [6]), epoch=8)
    publisher.asked.clear()
    publisher.files = {key: data for key, data in publisher.files.items() if key[0] != "bases"}
    found = apply_head(current, envelope, publisher, replace(ground, checkpoint=checkpoint), NOW)
    assert "bases" not in publisher.asked
    assert found.base.sha256 == checkpoint.root
    assert [number for number in range(9) if found.lists(digest(number))] == [2, 3, 4, 5, 6]


def test_an_empty_base_is_computed_and_not_fetched(publisher: Publisher) -> None:
    before = apply_head(
        None, signed(publisher.head([])), publisher, Ground(policy(), publisher.checkpoint(base=[1])), NOW
    )
    checkpoint = publisher.checkpoint(base=[], epoch=8, removed=[digest(1)])
    publisher.asked.clear()
    found = apply_head(before, signed(publisher.head([], epoch=8)), publisher, Ground(policy(), checkpoint), NOW)
    assert "bases" not in publisher.asked
    assert found.base.data == EMPTY_SET


def test_an_unchanged_base_is_kept(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    publisher.asked.clear()
    found = apply_head(current, following(publisher, (11, 14, [4, 5, 6])), publisher, ground, NOW)
    assert "bases" not in publisher.asked
    assert found.base is current.base


def test_a_base_that_cannot_be_computed_is_fetched(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    # The host missed an event before the checkpoint: what it would compute lacks the entry 9.
    checkpoint = publisher.checkpoint(base=[1, 2, 3, 4, 5, 6, 9], epoch=8, through=14)
    publisher.asked.clear()
    found = apply_head(
        current, following(publisher, (15, 15, [7]), epoch=8), publisher, replace(ground, checkpoint=checkpoint), NOW
    )
    assert publisher.asked.count("bases") == 1
    assert found.lists(digest(9))


def test_a_computed_base_is_counted_too(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    for base, removed in (([1, 2, 3, 4, 5], []), ([1, 2, 3], [digest(4), digest(5)])):
        checkpoint = publisher.checkpoint(base=base, epoch=8, through=12, count=77, removed=removed)
        envelope = following(publisher, (13, 13, [6]), epoch=8)
        later = replace(ground, checkpoint=checkpoint)
        assert code(lambda e=envelope, g=later: apply_head(current, e, publisher, g, NOW)) == "list.base"  # type: ignore[misc]


def test_a_fetched_base_that_is_another(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    checkpoint = publisher.checkpoint(base=[9], epoch=8, through=14)
    publisher.files["bases", checkpoint.root] = EMPTY_SET
    later = replace(ground, checkpoint=checkpoint)
    envelope = following(publisher, (15, 15, [7]), epoch=8)
    assert code(lambda: apply_head(current, envelope, publisher, later, NOW)) == "list.base"


# -- rule 6: from one epoch to the next --------------------------------------------------------------------------------


def next_epoch(publisher: Publisher, ground: Ground, **changes: Any) -> Ground:
    return replace(
        ground, checkpoint=publisher.checkpoint(base=[1, 2, 3, 4, 5], **{"epoch": 8, "through": 12} | changes)
    )


def test_the_tail_after_the_checkpoint_is_carried_over(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    later = next_epoch(publisher, ground)
    kept = following(publisher, (13, 13, [6]), (14, 14, [7]), epoch=8)
    assert apply_head(current, kept, publisher, later, NOW).lists(digest(6))
    lost = following(publisher, (13, 14, [7]), epoch=8)
    assert code(lambda: apply_head(current, lost, publisher, later, NOW)) == "list.fork"


def test_the_tail_is_carried_over_also_to_a_lower_number(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    later = next_epoch(publisher, ground)
    lost = following(publisher, epoch=8, seq=12)
    assert code(lambda: apply_head(current, lost, publisher, later, NOW)) == "list.fork"


@pytest.mark.parametrize(("parts", "removed"), [(((12, 13, [5]),), []), (((12, 13, [5]),), [6])])
def test_what_a_checkpoint_cuts_through_is_kept_whole(
    publisher: Publisher, ground: Ground, parts: tuple[tuple[int, int, Sequence[int]], ...], removed: Sequence[int]
) -> None:
    """Nobody can tell which entries of such a segment the checkpoint has judged, so being removed is no excuse."""
    before = publisher.head([publisher.segment(11, 13, [4, 5, 6])])
    current = apply_head(None, signed(before), publisher, ground, NOW)
    later = next_epoch(publisher, ground, through=11, removed=sorted(digest(number) for number in removed))
    lost = following(publisher, *parts, epoch=8, rules=())
    assert code(lambda: apply_head(current, lost, publisher, later, NOW)) == "list.fork"
    kept = following(publisher, (12, 13, [5, 6]), epoch=8, rules=())
    assert apply_head(current, kept, publisher, later, NOW).lists(digest(6))


def test_an_entry_revoked_again_after_the_checkpoint_is_not_excused(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    """It was reinstated once, and is named as removed ever since; that says nothing of what came later."""
    later = next_epoch(publisher, ground, removed=[digest(6)])
    lost = following(publisher, (13, 13, []), epoch=8)
    assert code(lambda: apply_head(current, lost, publisher, later, NOW)) == "list.fork"
    kept = following(publisher, (13, 13, [6]), epoch=8)
    assert apply_head(current, kept, publisher, later, NOW).lists(digest(6))


@pytest.mark.parametrize(
    ("base", "removed", "accepted"),
    [
        ([1, 2, 4, 5], [], False),  # an entry of the old base gone
        ([1, 2, 4, 5], [9], False),  # another one named
        ([1, 2, 4, 5], [3], True),
        ([1, 2, 3, 4], [], False),  # an entry of the old tail gone, which the checkpoint has judged
        ([1, 2, 3, 4], [5], True),
        ([7, 8, 9], [], False),
        ([], [1, 2, 3, 4, 5], True),
    ],
)
def test_a_base_loses_only_what_its_checkpoint_names(
    publisher: Publisher,
    ground: Ground,
    current: RevocationList,
    base: Sequence[int],
    removed: Sequence[int],
    accepted: bool,
) -> None:
    names = sorted(digest(number) for number in removed)
    fetched = publisher.checkpoint(base=[*base, 77], epoch=8, through=12, removed=names)
    envelope = following(publisher, (13, 13, [6]), epoch=8)
    later = replace(ground, checkpoint=fetched)
    if accepted:
        found = apply_head(current, envelope, publisher, later, NOW)
        assert [number for number in range(1, 6) if found.lists(digest(number))] == sorted(set(base) & {1, 2, 3, 4, 5})
    else:
        assert code(lambda: apply_head(current, envelope, publisher, later, NOW)) == "list.fork"


def test_after_a_theft_the_base_still_loses_nothing_unnamed(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    cut = replace(ground, checkpoint=publisher.checkpoint(base=[1, 2], epoch=8, through=12, carry=8))
    envelope = following(publisher, epoch=8, seq=12, rules=())
    assert code(lambda: apply_head(current, envelope, publisher, cut, NOW)) == "list.fork"


# -- hosts that skip epochs --------------------------------------------------------------------------------------------


def test_a_host_that_skipped_the_cut_is_not_stuck(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    """The epoch 8 cut off a thief's tail, 9 and 10 carry on from there; the host comes from 7."""
    thief = following(publisher, (11, 12, [4, 5]), (13, 999_999, [6, 66]), rules=(1, 2, 600))
    stuck = apply_head(current, thief, publisher, ground, NOW)
    for carry, accepted in ((7, False), (8, True), (9, True), (10, True)):
        later = replace(
            ground, checkpoint=publisher.checkpoint(base=[1, 2, 3, 4, 5, 6], epoch=10, through=20, carry=carry)
        )
        envelope = following(publisher, (21, 21, [8]), epoch=10, rules=(1, 2))
        if accepted:
            found = apply_head(stuck, envelope, publisher, later, NOW)
            assert [number for number in range(99) if found.lists(digest(number))] == [1, 2, 3, 4, 5, 6, 8]
            assert [rule.id for rule in found.rules.rules] == ["R1", "R2"]
        else:
            assert code(lambda e=envelope, g=later: apply_head(stuck, e, publisher, g, NOW)) == "list.fork"  # type: ignore[misc]


def test_a_host_that_skipped_a_reinstatement_is_not_stuck(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    """What the epoch 8 took away, 9 names as well: the digests 3 and 5, and the rule R2."""
    later = next_epoch(
        publisher,
        ground,
        epoch=9,
        through=13,
        root=publisher.checkpoint(base=[1, 2, 4, 6]).root,
        count=4,
        removed=sorted([digest(3), digest(5)]),
        removed_rules=["R2"],
    )
    envelope = following(publisher, (14, 14, [8]), epoch=9, rules=(1, 4))
    found = apply_head(current, envelope, publisher, later, NOW)
    assert [number for number in range(9) if found.lists(digest(number))] == [1, 2, 4, 6, 8]
    unnamed = replace(later, checkpoint=publisher.checkpoint(base=[1, 2, 4, 6], epoch=9, through=13))
    assert code(lambda: apply_head(current, envelope, publisher, unnamed, NOW)) == "list.fork"


def test_a_rule_leaves_by_name_alone(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    for names, rules, accepted in ((["R1"], (2,), True), (["R1", "R2"], (), True), (["R1"], (), False)):
        later = next_epoch(publisher, ground, removed_rules=names)
        envelope = following(publisher, (13, 13, [6]), epoch=8, rules=rules)
        if accepted:
            assert len(apply_head(current, envelope, publisher, later, NOW).rules.rules) == len(rules)
        else:
            assert code(lambda e=envelope, g=later: apply_head(current, e, publisher, g, NOW)) == "list.fork"  # type: ignore[misc]


def test_a_rule_of_the_checkpoint_survives_the_cut(publisher: Publisher, ground: Ground) -> None:
    named = replace(ground, checkpoint=publisher.checkpoint(base=[1], rules=publisher.rules(1)["sha256"]))
    before = apply_head(None, signed(publisher.head([], rules=publisher.rules(1, 2))), publisher, named, NOW)
    cut = replace(ground, checkpoint=publisher.checkpoint(base=[1], epoch=8, carry=8))
    lost = signed(publisher.head([], epoch=8))
    assert code(lambda: apply_head(before, lost, publisher, cut, NOW)) == "list.fork"
    dropped = replace(cut, checkpoint=publisher.checkpoint(base=[1], epoch=8, carry=8, removed_rules=["R1"]))
    assert apply_head(before, lost, publisher, dropped, NOW).rules.rules == ()


def test_rules_are_carried_over(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    later = next_epoch(publisher, ground)
    lost = following(publisher, (13, 13, [6]), epoch=8, rules=(2,))
    assert code(lambda: apply_head(current, lost, publisher, later, NOW)) == "list.fork"
    kept = following(publisher, (13, 13, [6]), epoch=8, rules=(1, 2, 3))
    assert len(apply_head(current, kept, publisher, later, NOW).rules.rules) == 3


def test_a_checkpoint_may_change_a_rule(publisher: Publisher, ground: Ground, current: RevocationList) -> None:
    """How a reinstated artifact becomes an exception: the checkpoint's word counts, for the rules that it names."""
    changed = publisher.rules(1, 2, **{"except": [f"sha256:{digest(9)}"]})
    later = next_epoch(publisher, ground, rules=changed["sha256"])
    head = publisher.head([publisher.segment(13, 13, [6])], epoch=8, rules=changed)
    assert apply_head(current, signed(head), publisher, later, NOW).rules.rules[0].excepted


def test_after_a_theft_the_online_tail_is_dropped(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    later = next_epoch(publisher, ground, carry=8)
    envelope = following(publisher, (13, 13, []), epoch=8, rules=())
    found = apply_head(current, envelope, publisher, later, NOW)
    assert not found.lists(digest(6))
    assert found.rules.rules == ()
    assert all(found.lists(digest(number)) for number in (1, 2, 3, 4, 5))


# -- rules that the checkpoint names -----------------------------------------------------------------------------------


def test_a_fresh_host_is_not_talked_out_of_the_checkpoints_rules(publisher: Publisher, ground: Ground) -> None:
    """What a thief of a head key would do: new hosts have nothing to compare with but the checkpoint."""
    named = replace(ground, checkpoint=publisher.checkpoint(base=[1], rules=publisher.rules(1, 2)["sha256"]))
    for rules in (publisher.rules(), publisher.rules(1), publisher.rules(1, 2, kind="builder"), publisher.rules(3)):
        envelope = signed(publisher.head([], rules=rules))
        assert code(lambda e=envelope: apply_head(None, e, publisher, named, NOW)) == "list.fork"  # type: ignore[misc]
    more = apply_head(None, signed(publisher.head([], rules=publisher.rules(1, 2, 3))), publisher, named, NOW)
    assert [rule.id for rule in more.base_rules.rules] == ["R1", "R2"]


def test_the_checkpoints_rules_may_not_be_withheld(publisher: Publisher, ground: Ground) -> None:
    named = replace(ground, checkpoint=publisher.checkpoint(base=[1], rules=publisher.rules(1)["sha256"]))
    envelope = signed(publisher.head([], rules=publisher.rules(1, 2)))
    publisher.files["rules", named.checkpoint.rules] = EMPTY_RULES
    assert code(lambda: open_list(envelope, publisher, named, NOW)) == "list.base"


# -- rule 7: whatever is refused changes nothing -----------------------------------------------------------------------


def test_a_refused_head_leaves_the_list_as_it_was(
    publisher: Publisher, ground: Ground, current: RevocationList
) -> None:
    before = (current.head, current.base.data, current.tail, current.rules)
    for envelope in (following(publisher, (11, 14, [7])), signed(publisher.head([]), STRANGER), b"{}"):
        with pytest.raises(Refused):
            apply_head(current, envelope, publisher, ground, NOW)
    assert (current.head, current.base.data, current.tail, current.rules) == before


def test_a_list_cannot_be_changed(current: RevocationList) -> None:
    with pytest.raises(AttributeError):
        current.tail = ()  # type: ignore[misc]


def test_a_list_follows_itself(current: RevocationList) -> None:
    check_history(current, current)
