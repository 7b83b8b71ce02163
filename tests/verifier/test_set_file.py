"""Searching a base: the answers of a set, whatever its entries look like, and never much work."""

from __future__ import annotations

import mmap
from itertools import pairwise
from pathlib import Path
from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.formats.revocations import PREFIX, dump_set_file
from verifier.revocation.revocation_list import WINDOW, SetFile

LAST = 256**PREFIX - 1

anywhere = st.integers(0, LAST)
crowded = st.builds(lambda place, step: min(place + step, LAST), st.sampled_from([0, 2**64, 2**127, LAST]), anywhere)
few_values = st.integers(0, 300).map(lambda number: number << 64)
all_at_one_end = st.integers(0, 5_000) | st.integers(LAST - 5_000, LAST)
periodic = st.integers(0, 255).map(lambda byte: int.from_bytes(bytes([byte]) * PREFIX, "big"))
entries = st.one_of(
    *(st.frozensets(kind, max_size=400) for kind in (anywhere, crowded, few_values, all_at_one_end, periodic)),
    st.frozensets(anywhere | all_at_one_end | few_values | periodic, max_size=400),
    st.builds(lambda start, step, count: frozenset(range(start, start + step * count, step)),
              st.integers(0, 2**127), st.integers(1, 2**110), st.integers(0, 400)),
)  # fmt: skip


def packed(numbers: frozenset[int]) -> list[bytes]:
    return sorted(number.to_bytes(PREFIX, "big") for number in numbers)


@given(entries, st.lists(anywhere | all_at_one_end | few_values | periodic, max_size=20))
def test_it_answers_as_a_set_does(numbers: frozenset[int], others: list[int]) -> None:
    members = frozenset(packed(numbers))
    beside = {min(max(number + step, 0), LAST) for number in numbers for step in (-1, 1)}
    asked = [*members, *packed(frozenset(beside)), *packed(frozenset(others))]
    base = SetFile(dump_set_file(members))
    assert [prefix in base for prefix in asked] == [prefix in members for prefix in asked]


@given(entries)
def test_a_part_of_two_neighbours_is_no_entry(numbers: frozenset[int]) -> None:
    members = packed(numbers)
    base = SetFile(b"".join(members))
    for before, after in pairwise(members):
        for cut in range(1, PREFIX):
            between = before[cut:] + after[:cut]
            assert (between in base) == (between in set(members))


@pytest.mark.parametrize("asked", [b"", b"\x00" * (PREFIX - 1), b"\x00" * (PREFIX + 1), "0" * PREFIX, None, 0])
def test_what_is_no_prefix_is_not_in_it(asked: object) -> None:
    assert asked not in SetFile(b"\x00" * PREFIX)


@pytest.mark.parametrize("count", [0, 1, 2, WINDOW, 2 * WINDOW, 2 * WINDOW + 1])
def test_its_ends(count: int) -> None:
    members = packed(frozenset(range(1, 2 * count, 2)))
    base = SetFile(b"".join(members))
    for number in (0, 1, 2, 2 * count - 1, 2 * count, LAST):
        prefix = max(number, 0).to_bytes(PREFIX, "big")
        assert (prefix in base) == (prefix in members)


class Counted(bytes):
    """Bytes that count how much of them was sliced out."""

    read = 0

    def __getitem__(self, key: SupportsIndex | slice) -> bytes:  # type: ignore[override]
        found = super().__getitem__(key)
        assert isinstance(found, bytes)
        self.read += len(found)
        return found


SHAPES = {
    "even": [number * (LAST // 4096) for number in range(4096)],
    "one end": list(range(4096)),
    "other end": [LAST - number for number in range(4096)],
    "two heaps": [*range(2048), *(LAST - number for number in range(2048))],
    "powers": sorted({(1 << bit) + step for bit in range(8, 127) for step in range(34)}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_list_makes_a_search_long(shape: str) -> None:
    members = packed(frozenset(SHAPES[shape]))
    data = Counted(b"".join(members))
    base = SetFile(data)
    most = (2 * WINDOW + len(members).bit_length() + 1) * PREFIX
    for number in (*SHAPES[shape][::37], *(LAST // 97 * part for part in range(97))):
        data.read = 0
        prefix = number.to_bytes(PREFIX, "big")
        assert (prefix in base) == (prefix in set(members))
        assert data.read <= most


def test_even_entries_are_found_without_bisecting() -> None:
    members = packed(frozenset(SHAPES["even"]))
    data = Counted(b"".join(members))
    base = SetFile(data)
    for prefix in members[WINDOW:-WINDOW:41]:
        data.read = 0
        assert prefix in base
        assert data.read == 2 * WINDOW * PREFIX


def test_a_mapped_file_is_searched_alike(tmp_path: Path) -> None:
    members = packed(frozenset(SHAPES["two heaps"]))
    path = tmp_path / "base"
    path.write_bytes(b"".join(members))
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        base = SetFile(data)
        assert all(prefix in base for prefix in members)
        assert (LAST // 2).to_bytes(PREFIX, "big") not in base
