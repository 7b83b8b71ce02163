"""Which plugins answer a search, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crl_server.plugins.ranking import MAX_WORDS, Card, Place, Wanted, rank
from verifier.errors import UsageError


def card(plugin_id: str, **more: object) -> Card:
    fields = {
        "artifacts": 1, "latest": "1.0", "tier": "core", "description": "does something", "owner": "team-a",
        "kind": "exporter", "maturity": "stable", "capabilities": (), "hooks": (), "revoked": False,
    } | more  # fmt: skip
    return Card(plugin_id=plugin_id, **fields)  # type: ignore[arg-type]


def ids(cards: list[Card], text: str = "", **more: str) -> list[str]:
    return [found.plugin_id for _, found in rank(cards, Wanted(text, **more))]


CARDS = [
    card("csv_exporter", description="writes rows into files"),
    card("rows", description="counts"),
    card("parquet", description="writes rows as parquet", maturity="beta"),
    card("rowset_tools", description="sets"),
    card("audit", hooks=("rows.written",), description="notes"),
    card("gone", description="rows and rows", revoked=True),
    card("net", capabilities=("network",), owner="team-b", kind="connector", maturity="alpha"),
]


def test_the_id_comes_before_what_is_declared_and_that_before_the_description() -> None:
    assert ids(CARDS, "rows") == ["rows", "rowset_tools", "audit", "csv_exporter", "parquet", "gone"]


def test_every_word_has_to_be_found_somewhere() -> None:
    assert ids(CARDS, "rows parquet") == ["parquet"]
    assert ids(CARDS, "rows nowhere") == []


def test_without_words_plugins_stand_by_id() -> None:
    assert ids(CARDS) == sorted(found.plugin_id for found in CARDS)
    assert {place.score for place, _ in rank(CARDS, Wanted())} == {0}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"capability": "network"}, ["net"]),
        ({"hook": "rows.written"}, ["audit"]),
        ({"hook": "rows"}, []),
        ({"owner": "team-b"}, ["net"]),
        ({"owner": "team-b", "kind": "exporter"}, []),
        ({"maturity": "beta"}, ["parquet"]),
        ({"kind": "connector"}, ["net"]),
    ],
)
def test_what_must_be_exactly_so(more: dict[str, str], expected: list[str]) -> None:
    assert ids(CARDS, **more) == expected


def test_the_more_mature_of_two_equals_comes_first_and_the_revoked_last() -> None:
    equals = [
        card("a_x", maturity="deprecated"),
        card("b_x", maturity="stable"),
        card("c_x", maturity="stable", revoked=True),
        card("d_x", maturity="stable"),
    ]
    assert ids(equals, "x") == ["b_x", "d_x", "a_x", "c_x"]


def test_case_and_punctuation_make_no_difference() -> None:
    assert ids(CARDS, " ROWS, ") == ids(CARDS, "rows")


def test_too_many_words_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Wanted(" ".join(map(str, range(MAX_WORDS + 1))))
    assert caught.value.code == "usage.arguments"


@given(st.integers(-2000, 99_999), st.from_regex(r"[a-z0-9]([a-z0-9_]{0,20})", fullmatch=True))
def test_a_place_is_read_as_it_was_written(score: int, plugin_id: str) -> None:
    assert Place.parse(str(Place(score, plugin_id))) == Place(score, plugin_id)


@pytest.mark.parametrize("text", ["A", "x.y", "1.", "1234567.a", "1.a.b", "a b"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Place.parse(text)
    assert caught.value.code == "request.invalid"


words = st.sampled_from(["rows", "csv", "x", "net", "team", "parquet"])


@given(st.lists(words, max_size=3), st.permutations(CARDS))
def test_the_order_is_total_and_whatever_the_cards_come_in(some: list[str], shuffled: list[Card]) -> None:
    ranked = rank(shuffled, Wanted(" ".join(some)))
    assert ranked == rank(CARDS, Wanted(" ".join(some)))
    orders = [place.order for place, _ in ranked]
    assert orders == sorted(set(orders))
