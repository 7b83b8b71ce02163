"""Pouring what is kept into files: what was authentic and not changed since is copied, and only what is used of it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.kept_entries import ENTRIES, EVIL, PARTS, VALUE, entry_of, exchange_for_directory, filled
from verifier import private_cache, private_directory
from verifier.private_cache import PrivateCache
from verifier.private_directory import Spans, Used, pages

PAGE, LARGE = mmap.PAGESIZE, 6 * mmap.PAGESIZE + 100


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache of a test lies; not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def target() -> Iterator[int]:
    """An empty file in memory."""
    descriptor = os.memfd_create("target")
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("case", [*ENTRIES, "a directory", "missing"])
def test_nothing_is_poured_that_is_not_authentic(case: str, directory: Path, target: int) -> None:
    entry = filled(directory)
    cases = {**ENTRIES, "a directory": exchange_for_directory, "missing": Path.unlink}
    cases[case](entry)
    assert not PrivateCache(directory).pour(target, *PARTS)
    assert os.fstat(target).st_size == 0
    assert os.lseek(target, 0, os.SEEK_CUR) == 0


def test_pouring(directory: Path, target: int) -> None:
    cache, value = PrivateCache(directory), VALUE * 20_000
    cache.store(value, *PARTS)
    assert cache.pour(target, *PARTS)
    assert os.pread(target, len(value) + 1, 0) == value


def test_pouring_into_what_cannot_be_written(directory: Path) -> None:
    filled(directory)
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            PrivateCache(directory).pour(descriptor, *PARTS)
    finally:
        os.close(descriptor)


def test_unusable_cache_pours_nothing(directory: Path, target: int) -> None:
    filled(directory)
    directory.chmod(0o755)
    assert not PrivateCache(directory).pour(target, *PARTS)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as left alone at once."""
    monkeypatch.setattr(private_directory, "SETTLED", -(10**9))


def poured(directory: Path, used: Used | None = None) -> tuple[bytes | None, bool]:
    """What a new process gets by pouring; and whether it took the value without authenticating it again."""
    descriptor, copied = os.memfd_create("target"), []
    cache = PrivateCache(directory)
    copy = cache._copy

    def watched(source: int, target: int, name: bytes) -> bool:
        copied.append(name)
        return copy(source, target, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_copy", watched)
        done = cache.pour(descriptor, *PARTS, used=used)
    content = os.pread(descriptor, LARGE + 100, 0)
    os.close(descriptor)
    assert done or not content
    return content if done else None, not copied


@pytest.mark.usefixtures("settled")
def test_what_was_not_changed_is_poured_as_it_is(directory: Path) -> None:
    filled(directory)
    assert [poured(directory) for _ in range(3)] == [(VALUE, False), (VALUE, True), (VALUE, True)]


def test_what_was_just_written_is_authenticated_each_time(directory: Path) -> None:
    filled(directory)
    assert [poured(directory) for _ in range(3)] == [(VALUE, False)] * 3


def put_back(entry: Path, change: Callable[[Path], object]) -> None:
    """Change a file, and put back the times that anybody can set."""
    before = entry.stat()
    change(entry)
    os.utime(entry, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def write_a_mapping(entry: Path) -> None:
    with open(entry, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        mapped[32:] = EVIL


EXCHANGES: dict[str, Callable[[Path], object]] = {
    **ENTRIES,
    "exchanged through a mapping": write_a_mapping,
    "written in place": lambda entry: os.pwrite(os.open(entry, os.O_WRONLY), EVIL, 32),
}


@pytest.mark.parametrize("case", EXCHANGES)
@pytest.mark.usefixtures("settled")
def test_attack_53_what_was_changed_is_authenticated_again(case: str, directory: Path) -> None:
    assert len(EVIL) == len(VALUE)
    entry = filled(directory)
    assert [poured(directory) for _ in range(2)] == [(VALUE, False), (VALUE, True)]
    put_back(entry, EXCHANGES[case])
    assert poured(directory)[0] is None
    PrivateCache(directory).store(VALUE, *PARTS)
    assert poured(directory) == (VALUE, False)


@pytest.mark.usefixtures("settled")
def test_attack_2_what_is_changed_while_it_is_copied_is_authenticated(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = filled(directory)
    assert [poured(directory) for _ in range(2)] == [(VALUE, False), (VALUE, True)]

    def late(*of: Any) -> None:
        write_a_mapping(entry)
        private_directory.send(*of)

    monkeypatch.setattr(private_cache, "send", late)
    assert poured(directory) == (None, False)


@pytest.mark.usefixtures("settled")
def test_where_times_of_change_can_be_set_nothing_rests_on_them(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(directory)
    monkeypatch.setattr(private_directory, "tells_of_changes", lambda _: False)
    assert [poured(directory) for _ in range(3)] == [(VALUE, False)] * 3


def test_whose_the_time_of_a_change_is(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(directory)
    descriptor = os.open(directory, os.O_RDONLY)
    assert private_directory.tells_of_changes(descriptor)
    stat = os.stat

    def one_time(*of: Any, **named: Any) -> os.stat_result:
        found = stat(*of, **named)
        return os.stat_result(
            (*found[:9], found.st_mtime), {"st_mtime_ns": found.st_mtime_ns, "st_ctime_ns": found.st_mtime_ns}
        )

    monkeypatch.setattr(os, "stat", one_time)
    assert not private_directory.tells_of_changes(descriptor)
    monkeypatch.undo()
    os.close(descriptor)
    assert len(list(directory.iterdir())) == 2


@pytest.mark.usefixtures("settled")
def test_a_record_of_another_state_or_file_counts_for_nothing(directory: Path) -> None:
    """Replay: what says that an older state was authentic says nothing of the one that is there."""
    entry = filled(directory)
    poured(directory)
    [record] = [path for path in directory.iterdir() if path.name not in {"key", entry.name}]
    old = record.read_bytes()
    put_back(entry, lambda entry: entry.write_bytes(entry.read_bytes()[:32] + EVIL))
    for number in range(3):
        (directory / f"{number:064x}").write_bytes(old)
    assert poured(directory)[0] is None


@given(st.lists(st.tuples(st.integers(0, 9 * PAGE), st.integers(0, 3 * PAGE))), st.integers(0, 8 * PAGE))
def test_pages_hold_all_that_is_used_and_nothing_twice(spans: list[tuple[int, int]], size: int) -> None:
    runs = pages(spans, size)
    held = [range(offset // PAGE * PAGE, min(offset + length, size), PAGE) for offset, length in spans if length]
    assert {at for start, end in runs for at in range(start, end, PAGE)} == {at for span in held for at in span}
    assert all(start < end <= size for start, end in runs)
    assert all(first[1] < second[0] for first, second in pairwise(runs))


def large(directory: Path) -> bytes:
    """A cache that holds one value of several pages; the value."""
    value = bytes(range(1, 256)) * (LARGE // 255 + 1)
    PrivateCache(directory).store(value[:LARGE], *PARTS)
    return value[:LARGE]


def rule(name: bytes, *spans: tuple[int, int], seen: list[bytes] | None = None) -> Used:
    """A rule that always names the same parts; what it was asked of is added to what was seen."""

    def told(descriptor: int) -> Spans:
        if seen is not None:
            seen.append(os.pread(descriptor, LARGE + 100, 0))
        return spans

    return Used(name, told)


@pytest.mark.usefixtures("settled")
def test_only_pages_that_are_used_are_poured(directory: Path) -> None:
    value, seen = large(directory), list[bytes]()
    used = rule(b"1", (PAGE + 10, 5), (5 * PAGE - 1, 2), seen=seen)
    parts = ((0, b"\0"), (1, value), (2, b"\0"), (3, b"\0"), (4, value), (5, value), (6, b"\0"))
    expected = b"".join(
        (of[at * PAGE : (at + 1) * PAGE] if of is value else bytes(PAGE)) for at, of in parts
    )[:LARGE]  # fmt: skip
    assert [poured(directory, used) for _ in range(3)] == [(expected, False), (expected, True), (expected, True)]
    assert seen == [value]  # the whole, and authentic; once


@pytest.mark.usefixtures("settled")
def test_what_another_rule_left_out_is_poured(directory: Path) -> None:
    value = large(directory)
    poured(directory, rule(b"1", (0, 1)))
    assert poured(directory, rule(b"1", (0, LARGE)))[0] == value[:PAGE] + bytes(LARGE - PAGE)  # it was not asked again
    assert poured(directory, rule(b"2", (0, LARGE))) == (value, False)
    assert poured(directory) == (value, False)
    assert poured(directory) == (value, True)


@pytest.mark.usefixtures("settled")
def test_unused_pages_take_no_memory(directory: Path, target: int) -> None:
    large(directory)
    used = rule(b"1", (PAGE, 1))
    poured(directory, used)
    assert PrivateCache(directory).pour(target, *PARTS, used=used)
    assert os.fstat(target).st_blocks * 512 == PAGE
    assert os.fstat(target).st_size == LARGE


@pytest.mark.parametrize("case", EXCHANGES)
@pytest.mark.usefixtures("settled")
def test_attack_53_what_was_changed_is_not_asked_what_is_used(case: str, directory: Path) -> None:
    entry, seen = filled(directory), list[bytes]()
    used = rule(b"1", (0, 1), seen=seen)
    assert [poured(directory, used) for _ in range(2)] == [(VALUE, False), (VALUE, True)]
    put_back(entry, EXCHANGES[case])
    assert poured(directory, used)[0] is None
    assert seen == [VALUE]


def test_a_rule_that_refuses_leaves_nothing(directory: Path, target: int) -> None:
    large(directory)

    def refuses(_: int) -> Spans:
        raise ValueError("no library")

    with pytest.raises(ValueError, match="no library"):
        PrivateCache(directory).pour(target, *PARTS, used=Used(b"1", refuses))
    assert entry_of(directory).is_file()  # and there is no record of it
