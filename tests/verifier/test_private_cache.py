"""A private cache: nothing that is not authentic is ever given back, and no fault in it is more than slow."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.kept_entries import entry_of
from verifier import private_cache, private_directory
from verifier.private_cache import PrivateCache
from verifier.private_directory import Spans, Used, pages

VALUE, EVIL = b"verified" * 9, b"evil" * 18
PARTS = ("sample", b"one", b"two")
PAGE, LARGE = mmap.PAGESIZE, 6 * mmap.PAGESIZE + 100


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache of a test lies; not made yet."""
    return tmp_path / "cache"


def filled(directory: Path) -> Path:
    """A cache that holds one value; the path of its entry."""
    cache = PrivateCache(directory)
    cache.store(VALUE, *PARTS)
    assert cache.load(*PARTS) == VALUE
    return entry_of(directory)


def descriptors_of(directory: Path) -> int:
    """How many descriptors of this process stand for a directory."""
    wanted, found = directory.stat(), []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of the listing
            found.append(os.stat(f"/proc/self/fd/{name}"))
    return sum((seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino) for seen in found)


def test_a_cache_that_nobody_refers_to_any_more_lets_go_of_its_directory(directory: Path) -> None:
    caches = [PrivateCache(directory) for _ in range(3)]
    assert descriptors_of(directory) == 3
    caches.clear()
    assert descriptors_of(directory) == 0


def test_a_cache_that_is_not_used_holds_nothing(directory: Path) -> None:
    filled(directory).parent.joinpath("key").write_bytes(b"short")
    PrivateCache(directory)
    assert descriptors_of(directory) == 0


def test_a_cache_closes_nothing_that_has_got_its_number_since(directory: Path) -> None:
    cache = PrivateCache(directory)
    descriptor = cache._directory
    with open(os.devnull, "rb") as other:
        os.dup2(other.fileno(), descriptor)
    del cache
    assert os.fstat(descriptor)
    os.close(descriptor)


def not_used(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cache in this directory reads and writes nothing, and says so once."""
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in directory.iterdir())
    cache = PrivateCache(directory)
    for _ in range(2):
        cache.store(VALUE, *PARTS)
        assert cache.load(*PARTS) is None
    assert not cache.usable
    assert sorted((path.name, path.lstat().st_mtime_ns) for path in directory.iterdir()) == before
    [record] = caplog.records
    assert (record.name, record.levelno) == ("verifier.private_cache", logging.WARNING)
    assert "is not used" in record.getMessage()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o710, 0o777])
def test_directory_that_others_may_enter(mode: int, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(directory)
    directory.chmod(mode)
    not_used(directory, caplog)


def test_directory_that_is_a_link(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(directory)
    link = directory.with_name("link")
    link.symlink_to(directory)
    not_used(link, caplog)


def test_directory_of_somebody_else(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(directory)
    if os.geteuid() == 0:
        os.chown(directory, 12345, -1)
    else:
        directory = Path("/usr")
    not_used(directory, caplog)


def test_directory_that_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert not PrivateCache(tmp_path / "file").usable
    assert not PrivateCache(tmp_path / "file" / "below").usable
    assert len(caplog.records) == 2


def exchange_for_link(key: Path) -> None:
    key.rename(key.with_name("elsewhere"))
    key.symlink_to("elsewhere")


def exchange_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def exchange_for_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


def give_away(path: Path) -> None:
    os.chown(path, 12345, -1) if os.geteuid() == 0 else path.chmod(0o604)


KEYS: dict[str, Callable[[Path], None]] = {
    "readable by others": lambda key: key.chmod(0o644),
    "writable by the group": lambda key: key.chmod(0o620),
    "of somebody else": give_away,
    "a link": exchange_for_link,
    "a pipe": exchange_for_pipe,
    "a directory": exchange_for_directory,
    "cut short": lambda key: os.truncate(key, 31),
    "empty": lambda key: os.truncate(key, 0),
    "too long": lambda key: os.truncate(key, 33),
}


@pytest.mark.parametrize("case", KEYS)
def test_key_that_is_not_ours_alone(case: str, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(directory)
    KEYS[case](directory / "key")
    not_used(directory, caplog)


ENTRIES: dict[str, Callable[[Path], object]] = {
    "exchanged, its tag kept": lambda entry: entry.write_bytes(entry.read_bytes()[:32] + EVIL),
    "cut short": lambda entry: os.truncate(entry, entry.stat().st_size - 1),
    "cut within its tag": lambda entry: os.truncate(entry, 20),
    "empty": lambda entry: os.truncate(entry, 0),
    "its tag alone": lambda entry: os.truncate(entry, 32),
    "appended to": lambda entry: entry.write_bytes(entry.read_bytes() + b"\0"),
    "larger than the cap": lambda entry: os.truncate(entry, private_cache.MAX_VALUE + 33),
    "a link to what is authentic": exchange_for_link,
    "a pipe": exchange_for_pipe,
}


@pytest.mark.parametrize("case", ENTRIES)
def test_value_that_is_not_authentic_is_missing_and_is_replaced(
    case: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = filled(directory)
    sound = entry.read_bytes()
    ENTRIES[case](entry)
    cache = PrivateCache(directory)
    assert cache.load(*PARTS) is None
    cache.store(VALUE, *PARTS)
    assert entry.read_bytes() == sound
    assert not entry.is_symlink()
    assert not caplog.records


def test_value_of_another_cache(directory: Path, tmp_path: Path) -> None:
    other = filled(tmp_path / "other")
    entry = filled(directory)
    assert entry.name == other.name
    other.replace(entry)
    assert PrivateCache(directory).load(*PARTS) is None


def test_authentic_value_under_another_name(directory: Path) -> None:
    entry = filled(directory)
    cache = PrivateCache(directory)
    cache.store(EVIL, "sample", b"other")
    [other] = [path for path in directory.iterdir() if path.name not in {"key", entry.name}]
    other.replace(entry)
    assert cache.load(*PARTS) is None


@pytest.fixture(scope="module")
def authentic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An entry of a cache, and its content."""
    entry = filled(tmp_path_factory.mktemp("authentic") / "cache")
    return entry, entry.read_bytes()


@given(st.data())
def test_no_changed_byte_is_read(authentic: tuple[Path, bytes], data: st.DataObject) -> None:
    entry, content = authentic
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    entry.write_bytes(changed)
    assert PrivateCache(entry.parent).load(*PARTS) is None


def test_entry_in_place_of_which_is_a_directory(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    exchange_for_directory(filled(directory))
    cache = PrivateCache(directory)
    for _ in range(2):
        assert cache.load(*PARTS) is None
        cache.store(VALUE, *PARTS)
    [record] = caplog.records
    assert "nothing more is stored" in record.getMessage()
    assert cache.usable
    assert sorted(path.name for path in directory.iterdir() if not path.is_dir()) == ["key"]


def test_directory_closed_from_outside(directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(directory)
    (tmp_path / "other").mkdir()
    for reopened in (False, True):
        cache = PrivateCache(directory)
        number = cache._directory
        os.close(number)
        other = os.open(tmp_path / "other", os.O_RDONLY) if reopened else None
        assert cache.load(*PARTS) is None
        cache.store(VALUE, *PARTS)
        assert not cache.usable
        if other is not None:
            assert other == number
            os.close(other)
    assert not list((tmp_path / "other").iterdir())
    assert [record.getMessage() for record in caplog.records] == [
        "the cache is no longer used: its directory was closed from outside"
    ] * 2


def test_what_is_made_is_private(directory: Path) -> None:
    before = os.umask(0)
    try:
        entry = filled(directory)
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert (directory / "key").stat().st_mode & 0o7777 == 0o600
    assert (directory / "key").stat().st_nlink == 1
    assert entry.stat().st_mode & 0o7777 == 0o600
    assert len(list(directory.iterdir())) == 2


@pytest.mark.parametrize(
    "parts",
    [
        ("sample", b"one"),
        ("sample", b"onetwo"),
        ("sample", b"one", b"two", b""),
        ("sample", b"two", b"one"),
        ("other", b"one", b"two"),
        ("sampleone", b"two"),
    ],
)
def test_other_parts_are_another_value(parts: tuple[str, bytes], directory: Path) -> None:
    filled(directory)
    assert PrivateCache(directory).load(*parts) is None


def test_value_beyond_the_cap_is_not_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_cache, "MAX_VALUE", 64)
    PrivateCache(directory).store(VALUE, *PARTS)
    assert [path.name for path in directory.iterdir()] == ["key"]


def test_oldest_entries_make_room(directory: Path) -> None:
    size = filled(directory).stat().st_size
    cache = PrivateCache(directory, max_total=10 * size)
    for number in range(30):
        cache.store(VALUE, "sample", b"%d" % number)
        for age, path in enumerate(sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, ns=(age, age))
    left = [path for path in directory.iterdir() if path.name != "key"]
    assert 5 * size < sum(path.stat().st_size for path in left) <= 10 * size
    assert cache.load("sample", b"29") is not None
    assert cache.load("sample", b"0") is None
    assert cache.usable


def test_threads(directory: Path) -> None:
    cache, wrong = PrivateCache(directory, max_total=1), []

    def work() -> None:
        for _ in range(50):
            cache.store(VALUE, *PARTS)
            found = cache.load(*PARTS)
            if found is not None and found != VALUE:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.usable


def test_forked_child(directory: Path) -> None:
    cache = PrivateCache(directory)
    cache._counting.acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        cache.store(VALUE, *PARTS)
        os._exit(0 if cache.load(*PARTS) == VALUE else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.load(*PARTS) == VALUE


def test_empty_value(directory: Path) -> None:
    cache = PrivateCache(directory)
    cache.store(b"", *PARTS)
    assert cache.load(*PARTS) == b""


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
