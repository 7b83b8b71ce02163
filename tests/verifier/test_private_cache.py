"""A private cache: nothing that is not authentic is ever given back, and no fault in it is more than slow."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.kept_entries import (
    ENTRIES,
    EVIL,
    PARTS,
    VALUE,
    exchange_for_directory,
    exchange_for_link,
    exchange_for_pipe,
    filled,
)
from verifier import private_cache
from verifier.private_cache import PrivateCache


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache of a test lies; not made yet."""
    return tmp_path / "cache"


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
