# ruff: noqa: D103 - the name of a test says what it shows
"""What the exporter writes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from csv_exporter import export


def test_a_column_that_is_not_named_is_refused() -> None:
    with pytest.raises(ValueError, match="b"):
        export([{"a": 1, "b": 2}], columns=["a"])


@pytest.mark.parametrize("delimiter", ["", ", "])
def test_a_delimiter_is_one_character(delimiter: str) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        export([], delimiter=delimiter)


def test_columns_stand_in_the_order_of_first_appearance() -> None:
    assert export([{"b": 1}, {"a": 2, "b": 3}]) == "b,a\r\n1,\r\n3,2\r\n"


def test_named_columns_decide_order_and_header_can_be_left_out() -> None:
    assert export([{"a": 1, "b": 2}], columns=["b", "a"], header=False) == "2,1\r\n"


def test_cells_are_quoted_where_they_need_it() -> None:
    assert export([{"a": 'say "x", please'}]) == 'a\r\n"say ""x"", please"\r\n'


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_formulas_are_made_harmless(cell: str) -> None:
    assert export([{"a": cell}], header=False) == f"'{cell}\r\n"
    assert export([{"a": cell}], header=False, guard_formulas=False) == f"{cell}\r\n"


def test_numbers_dates_and_nothing() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert export([{"a": -1, "b": moment, "c": None}], header=False) == "-1,2026-01-31T12:00:00+00:00,\r\n"


def test_no_rows() -> None:
    assert export([]) == ""
