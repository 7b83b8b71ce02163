"""The client's rules for one revocation list: who signed it, when, and whether its parts fit together."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.verifier.publisher import (
    ED25519,
    HOUR,
    IDS,
    NOW,
    P256,
    SECOND,
    STRANGER,
    Change,
    Ground,
    Private,
    Publisher,
    code,
    digest,
    policy,
    signed,
)
from verifier.formats import dsse
from verifier.formats.revocations import MAX_TAIL, prefix_of
from verifier.formats.text import Digest, Hex, Time
from verifier.revocation.revocations import CLOCK_SKEW, apply_head, open_list


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def ground(publisher: Publisher) -> Ground:
    return Ground(policy(), publisher.checkpoint(base=[1, 2, 3]))


# -- rule 1: who signed, for whom, when --------------------------------------------------------------------------------


def test_a_head_by_a_stranger(publisher: Publisher, ground: Ground) -> None:
    assert code(lambda: open_list(signed(publisher.head([]), STRANGER), publisher, ground, NOW)) == "list.signature"


def test_a_head_by_a_stranger_under_the_name_of_a_head_key(publisher: Publisher, ground: Ground) -> None:
    envelope = signed(publisher.head([]), STRANGER).replace(IDS[STRANGER].encode(), IDS[ED25519].encode())
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == "list.signature"


def test_a_head_whose_payload_was_changed(publisher: Publisher, ground: Ground) -> None:
    envelope = dsse.parse_envelope(signed(publisher.head([])))
    changed = envelope.unverified_payload.replace(b'"seq": 10', b'"seq": 11')
    assert changed != envelope.unverified_payload
    forged = dsse.dump_envelope(
        dsse.Envelope(payload_type=dsse.HEAD, unverified_payload=changed, signatures=envelope.signatures)
    )
    assert code(lambda: open_list(forged, publisher, ground, NOW)) == "list.signature"


@pytest.mark.parametrize("payload_type", [dsse.IN_TOTO, dsse.ENROLMENT, "", "application/json\x1b[2J"])
def test_an_envelope_of_another_purpose(publisher: Publisher, ground: Ground, payload_type: str) -> None:
    envelope = signed(publisher.head([]), payload_type=payload_type)
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == "list.signature"


def test_a_signature_made_for_another_purpose(publisher: Publisher, ground: Ground) -> None:
    envelope = signed(publisher.head([]), payload_type=dsse.IN_TOTO)
    relabelled = envelope.replace(dsse.IN_TOTO.encode(), dsse.HEAD.encode())
    assert code(lambda: open_list(relabelled, publisher, ground, NOW)) == "list.signature"


def with_signatures(publisher: Publisher, *signatures: dsse.Signature) -> bytes:
    envelope = dsse.parse_envelope(signed(publisher.head([])))
    return dsse.dump_envelope(replaced(envelope, signatures=signatures))


def test_a_signature_that_is_broken_counts_for_nothing(publisher: Publisher, ground: Ground) -> None:
    ed25519, p256 = dsse.parse_envelope(signed(publisher.head([]), ED25519, P256)).signatures
    broken = replaced(ed25519, sig=b"x")
    assert code(lambda: open_list(with_signatures(publisher, broken), publisher, ground, NOW)) == "list.signature"
    assert open_list(with_signatures(publisher, broken, p256), publisher, ground, NOW).head.seq == 10


@pytest.mark.parametrize("keyid", ["", "head", IDS[P256], IDS[STRANGER]])
def test_a_key_id_means_nothing(publisher: Publisher, ground: Ground, keyid: str) -> None:
    (right,) = dsse.parse_envelope(signed(publisher.head([]), ED25519)).signatures
    (wrong,) = dsse.parse_envelope(signed(publisher.head([]), STRANGER)).signatures
    data = with_signatures(publisher, replaced(right, keyid=keyid))
    assert open_list(data, publisher, ground, NOW).head.seq == 10
    data = with_signatures(publisher, replaced(wrong, keyid=keyid))
    assert code(lambda: open_list(data, publisher, ground, NOW)) == "list.signature"


def test_of_two_keys_the_one_whose_time_lasts_longer_counts(publisher: Publisher, ground: Ground) -> None:
    over = replace(ground, policy=policy(ed25519=NOW - SECOND, p256=NOW + SECOND))
    assert open_list(signed(publisher.head([]), ED25519, P256), publisher, over, NOW).head.seq == 10
    over = replace(ground, policy=policy(ed25519=NOW - SECOND, p256=NOW))
    both = signed(publisher.head([]), ED25519, P256)
    assert code(lambda: open_list(both, publisher, over, NOW)) == "list.key-expired"


def replaced(value: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(value, **fields)


@pytest.mark.parametrize("late", [timedelta(0), SECOND, 100 * HOUR])
def test_a_key_whose_time_is_over(publisher: Publisher, ground: Ground, late: timedelta) -> None:
    over = replace(ground, policy=policy(ed25519=NOW - late))
    assert code(lambda: open_list(signed(publisher.head([])), publisher, over, NOW)) == "list.key-expired"


def test_a_head_of_another_deployment(publisher: Publisher, ground: Ground) -> None:
    envelope = signed(publisher.head([], deployment="other"))
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == "list.deployment"


def test_a_head_from_the_future(publisher: Publisher, ground: Ground) -> None:
    envelope = signed(publisher.head([], issued=Time.of(NOW + CLOCK_SKEW + SECOND)))
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == "list.future"


def test_a_payload_that_is_no_head_though_signed(publisher: Publisher, ground: Ground) -> None:
    envelope = signed({"v": 1})
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == "format.schema"


def test_an_envelope_that_is_none(publisher: Publisher, ground: Ground) -> None:
    assert code(lambda: open_list(b"{", publisher, ground, NOW)) == "format.syntax"


def test_nothing_is_fetched_for_a_head_that_nobody_signed(publisher: Publisher, ground: Ground) -> None:
    envelope = signed(publisher.head([publisher.segment(11, 11, [4])]), STRANGER)
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == "list.signature"
    assert publisher.asked == []


@pytest.mark.parametrize("keys", [(ED25519,), (P256,), (P256, ED25519), (STRANGER, P256)])
def test_heads_that_are_right(publisher: Publisher, ground: Ground, keys: tuple[Private, ...]) -> None:
    issued = Time.of(NOW + CLOCK_SKEW)
    found = open_list(signed(publisher.head([], issued=issued), *keys), publisher, ground, NOW)
    assert found.head.issued == issued


# -- rule 2: epoch and trust -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 6, 8])
def test_a_head_of_another_epoch_than_the_checkpoint(publisher: Publisher, ground: Ground, epoch: int) -> None:
    assert code(lambda: open_list(signed(publisher.head([], epoch=epoch)), publisher, ground, NOW)) == "list.epoch"


@pytest.mark.parametrize("minimum", [{"root": 4, "targets": 41}, {"root": 3, "targets": 42}])
def test_a_head_that_asks_for_newer_trust(publisher: Publisher, ground: Ground, minimum: dict[str, int]) -> None:
    assert code(lambda: open_list(signed(publisher.head([], trust=minimum)), publisher, ground, NOW)) == "list.epoch"


def test_trust_newer_than_the_head_asks_for(publisher: Publisher, ground: Ground) -> None:
    newer = replace(ground, root_version=9, targets_version=99)
    assert open_list(signed(publisher.head([])), publisher, newer, NOW).head.seq == 10


# -- rule 3: segments --------------------------------------------------------------------------------------------------


def segments(publisher: Publisher) -> list[dict[str, Any]]:
    return [publisher.segment(11, 12, [4, 5]), publisher.segment(13, 13, [6]), publisher.segment(14, 20, [7])]


CHANGES: dict[str, Change] = {
    "a gap after the checkpoint": lambda head: head["segments"].pop(0),
    "a gap in the middle": lambda head: head["segments"].pop(1),
    "the last one left out": lambda head: head["segments"].pop(),
    "all left out": lambda head: head["segments"].clear(),
    "one twice": lambda head: head["segments"].insert(1, head["segments"][0]),
    "out of order": lambda head: head["segments"].reverse(),
    "overlapping the checkpoint": lambda head: head["segments"][0].update({"from": 10}),
    "overlapping each other": lambda head: head["segments"][1].update({"from": 12}),
    "backwards": lambda head: head["segments"][1].update({"to": 12}),
    "beyond the head": lambda head: head.update(seq=19),
    "short of the head": lambda head: head.update(seq=21),
    "more entries than said": lambda head: head["segments"][0].update(count=1),
    "fewer entries than said": lambda head: head["segments"][0].update(count=3),
    "a longer tail than the cap": lambda head: head["segments"][2].update(count=MAX_TAIL - 2),
    "another rule count": lambda head: head["rules"].update(count=1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_segments_that_do_not_fit(publisher: Publisher, ground: Ground, name: str) -> None:
    head = publisher.head(segments(publisher), change=CHANGES[name])
    assert code(lambda: open_list(signed(head), publisher, ground, NOW)) == "list.segments"


def test_a_tail_that_is_too_long_is_not_even_fetched(publisher: Publisher, ground: Ground) -> None:
    head = publisher.head(segments(publisher), change=CHANGES["a longer tail than the cap"])
    assert code(lambda: open_list(signed(head), publisher, ground, NOW)) == "list.segments"
    assert publisher.asked == []


def test_a_segment_that_ends_before_it_begins(publisher: Publisher, ground: Ground) -> None:
    head = publisher.head([publisher.segment(11, 10, [4])])
    assert code(lambda: open_list(signed(head), publisher, ground, NOW)) == "list.segments"


def test_a_number_in_one_segment_that_would_make_the_next_ones_wrap(publisher: Publisher, ground: Ground) -> None:
    head = publisher.head([publisher.segment(11, 2**53 - 1, [4])])
    assert open_list(signed(head), publisher, ground, NOW).head.seq == 2**53 - 1


@pytest.mark.parametrize("kind", ["segments", "rules", "bases"])
@pytest.mark.parametrize("data", [b"", b"x" * 16, b"x" * 1_000_000], ids=["empty", "another", "long"])
def test_a_file_that_is_not_the_one_named(publisher: Publisher, ground: Ground, kind: str, data: bytes) -> None:
    envelope = signed(publisher.head(segments(publisher)))
    publisher.files = {key: data if key[0] == kind else kept for key, kept in publisher.files.items()}
    expected = "list.base" if kind == "bases" else "list.segments"
    assert code(lambda: open_list(envelope, publisher, ground, NOW)) == expected


def test_a_segment_that_is_not_sorted(publisher: Publisher, ground: Ground) -> None:
    data = b"".join(sorted((prefix_of(digest(4)), prefix_of(digest(5))), reverse=True))
    ref = {"from": 11, "to": 12, "count": 2, "sha256": publisher.keep("segments", data)}
    assert code(lambda: open_list(signed(publisher.head([ref])), publisher, ground, NOW)) == "list.segments"


def test_a_segment_that_is_no_whole_number_of_entries(publisher: Publisher, ground: Ground) -> None:
    ref = {"from": 11, "to": 11, "count": 1, "sha256": publisher.keep("segments", b"x" * 15)}
    assert code(lambda: open_list(signed(publisher.head([ref])), publisher, ground, NOW)) == "list.segments"


def test_rules_that_are_malformed_though_the_head_names_them(publisher: Publisher, ground: Ground) -> None:
    rules = {"sha256": publisher.keep("rules", b'{"v":1,"rules":[{}]}'), "count": 1}
    assert code(lambda: open_list(signed(publisher.head([], rules=rules)), publisher, ground, NOW)) == "format.schema"


def test_a_base_of_another_count(publisher: Publisher, ground: Ground) -> None:
    wrong = replace(ground, checkpoint=publisher.checkpoint(base=[1, 2, 3], count=2))
    assert code(lambda: open_list(signed(publisher.head([])), publisher, wrong, NOW)) == "list.base"


def test_what_is_listed(publisher: Publisher, ground: Ground) -> None:
    found = open_list(signed(publisher.head(segments(publisher))), publisher, ground, NOW)
    assert [number for number in range(20) if found.lists(digest(number))] == [1, 2, 3, 4, 5, 6, 7]
    assert found.lists(Digest(f"sha256:{digest(1)}"))
    assert not found.lists(Digest(f"sha256:{digest(8)}"))
    assert found.count == 7


def test_a_digest_is_listed_by_its_first_half(publisher: Publisher, ground: Ground) -> None:
    found = open_list(signed(publisher.head([])), publisher, ground, NOW)
    assert found.lists(Hex(digest(1)[:32] + "0" * 32))
    assert not found.lists(Hex("0" * 32 + digest(1)[32:]))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000])
def test_a_base_finds_each_of_its_entries_and_no_other(publisher: Publisher, size: int) -> None:
    ground = Ground(policy(), publisher.checkpoint(base=range(size)))
    found = open_list(signed(publisher.head([])), publisher, ground, NOW)
    assert [number for number in range(size + 500) if found.lists(digest(number))] == list(range(size))


# -- freshness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("past", "grace", "outcome"),
    [
        (-SECOND, timedelta(0), True),
        (timedelta(0), timedelta(0), "list.stale"),
        (timedelta(0), SECOND, False),
        (HOUR - SECOND, HOUR, False),
        (HOUR, HOUR, "list.stale"),
        (10_000 * HOUR, HOUR, "list.stale"),
    ],
)
def test_freshness(
    publisher: Publisher, ground: Ground, past: timedelta, grace: timedelta, outcome: bool | str
) -> None:
    found = open_list(signed(publisher.head([])), publisher, ground, NOW)
    moment = NOW + 24 * HOUR + past
    if isinstance(outcome, str):
        assert code(lambda: found.freshness(moment, grace)) == outcome
    else:
        assert found.freshness(moment, grace) == (outcome, moment - NOW)


def test_a_head_that_has_expired_is_not_adopted_whatever_the_grace(publisher: Publisher, ground: Ground) -> None:
    envelope = signed(publisher.head([], issued=Time.of(NOW - 2 * HOUR), expires=Time.of(NOW)))
    assert code(lambda: apply_head(None, envelope, publisher, ground, NOW)) == "list.stale"
    assert open_list(envelope, publisher, ground, NOW).head.seq == 10
