"""What a list looks like: segments that grow slowly, times that never go back, room that ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crl_server.lists.rules import Span, check_room, first_checkpoint, grow, half_spent, issue_time
from verifier.errors import Refused
from verifier.formats.revocations import MAX_TAIL, dump, parse_checkpoint
from verifier.formats.text import Name, Time

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("tail", "more"), [(MAX_TAIL, 1), (0, MAX_TAIL + 1), (MAX_TAIL - 5, 6)])
def test_a_full_tail_is_refused(tail: int, more: int) -> None:
    with pytest.raises(Refused) as caught:
        check_room(tail, more)
    assert caught.value.code == "list.full"


def test_a_tail_may_be_filled_to_the_brim() -> None:
    check_room(MAX_TAIL - 1, 1)


@pytest.mark.parametrize("lag", [6 * MINUTE, timedelta(days=30)])
def test_a_clock_that_lags_more_than_clients_tolerate_signs_nothing(lag: timedelta) -> None:
    with pytest.raises(Refused) as caught:
        issue_time(NOW, Time.of(NOW + lag))
    assert caught.value.code == "clock.behind"


@pytest.mark.parametrize(
    ("last", "issued"),
    [
        (None, NOW),
        (NOW - MINUTE, NOW),
        (NOW, NOW),
        (NOW + 5 * MINUTE, NOW + 5 * MINUTE),
    ],
)
def test_a_head_is_never_issued_before_the_last_one(last: datetime | None, issued: datetime) -> None:
    assert issue_time(NOW, Time.of(last) if last else None) == Time.of(issued)


@pytest.mark.parametrize(("hours", "due"), [(0, False), (11, False), (12, False), (13, True), (24, True), (99, True)])
def test_what_has_lost_half_of_its_time_is_due(hours: int, due: bool) -> None:
    assert half_spent(NOW, NOW + timedelta(hours=24), NOW + timedelta(hours=hours)) is due


def test_the_first_checkpoint_is_one_that_clients_read() -> None:
    checkpoint = first_checkpoint(Name("acme"))
    assert parse_checkpoint(dump(checkpoint)) == checkpoint


def test_no_new_event_leaves_the_segments_alone() -> None:
    spans = (Span(1, 1, 1), Span(2, 2, 9))  # not merged as a growing tail would have them
    assert grow(spans, 0, 2, 0) == spans
    assert grow((), 7, 7, 0) == ()


def test_new_events_stand_alone() -> None:
    assert grow((Span(1, 4, 4),), 0, 5, 400) == (Span(1, 4, 4), Span(5, 5, 400))


def test_the_first_segment_begins_after_the_checkpoint() -> None:
    assert grow((), 1000, 1003, 3) == (Span(1001, 1003, 3),)


def test_earlier_neighbours_are_merged_when_the_newer_has_caught_up() -> None:
    assert grow((Span(1, 4, 4), Span(5, 5, 2), Span(6, 6, 1)), 0, 7, 1) == (
        Span(1, 4, 4),
        Span(5, 5, 2),
        Span(6, 6, 1),
        Span(7, 7, 1),
    )
    assert grow((Span(1, 4, 4), Span(5, 5, 2), Span(6, 6, 2)), 0, 7, 1) == (Span(1, 6, 8), Span(7, 7, 1))


@given(st.lists(st.integers(min_value=1, max_value=3000), min_size=1, max_size=60), st.integers(0, 10**9))
def test_segments_stay_contiguous_complete_and_few(events: list[int], through: int) -> None:
    spans: tuple[Span, ...] = ()
    for number, count in enumerate(events, 1):
        known = spans
        spans = grow(spans, through, through + number, count)
        assert spans[-1] == Span(through + number, through + number, count)
        edges = {span.last for span in known}
        assert all(span.last in edges for span in spans[:-1])  # merged from whole neighbours only
    assert [span.first for span in spans] == [through + 1, *(span.last + 1 for span in spans[:-1])]
    assert sum(span.entries for span in spans) == sum(events)
    assert len(spans) <= sum(events).bit_length() + 2
