"""A shelf of a private cache: no value of it is given back that is not authentic, and nothing is lost for long."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier import private_directory
from verifier.private_cache import PrivateCache
from verifier.private_directory import value_name
from verifier.shelves import Shelf, records_of

VALUES = {b"one": b"verified 1", b"two": b"verified 2" * 50, b"none": b""}
EVIL = b"evil, really"
HEAD = 72


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache of a test lies; not made yet."""
    return tmp_path / "cache"


def shelf(directory: Path, *parts: bytes) -> Shelf:
    return Shelf(PrivateCache(directory), "sample", *(parts or (b"wheel",)))


def filled(directory: Path) -> Path:
    """A cache with one shelf that holds the values; the path of its file."""
    made = shelf(directory)
    for name, value in VALUES.items():
        made.store(value, name)
    [path] = [path for path in directory.iterdir() if path.name != "key"]
    return path


def found(directory: Path, *parts: bytes) -> dict[bytes, bytes]:
    """What a new process finds on the shelf."""
    made = shelf(directory, *parts)
    loaded = {name: made.load(name) for name in VALUES}
    return {name: bytes(value) for name, value in loaded.items() if value is not None}


def test_what_was_stored_is_found(directory: Path) -> None:
    path = filled(directory)
    assert found(directory) == VALUES
    assert path.stat().st_mode & 0o7777 == 0o600
    assert shelf(directory).load(b"other") is None
    assert shelf(directory).load(b"one", b"") is None


def parts_of(content: bytes) -> list[bytes]:
    """The records of a shelf, each whole."""
    cut, parts = 0, []
    for value in VALUES.values():
        parts.append(content[cut : cut + HEAD + len(value)])
        cut += HEAD + len(value)
    return parts


def swapped_heads(content: bytes) -> bytes:
    first, second, *rest = parts_of(content)
    return b"".join([second[:64] + first[64:], first[:64] + second[64:], *rest])


def test_attack_6_a_record_under_the_head_of_another_is_none(directory: Path) -> None:
    path = filled(directory)
    path.write_bytes(swapped_heads(path.read_bytes()))
    assert found(directory) == {b"none": b""}


def test_attack_6_a_shelf_of_another_wheel_or_key_is_none(directory: Path, tmp_path: Path) -> None:
    mine, other = filled(directory), tmp_path / "other"
    assert found(directory, b"another wheel") == {}
    elsewhere = filled(other)
    assert elsewhere.name == mine.name
    content = mine.read_bytes()
    mine.write_bytes(elsewhere.read_bytes())
    assert found(directory) == {}, "the key is another"
    shelf(directory, b"another wheel").store(EVIL, b"one")
    [theirs] = [path for path in directory.iterdir() if path.name not in {"key", mine.name}]
    theirs.write_bytes(content)
    assert found(directory, b"another wheel") == {}, "authentic, and of another wheel"


@pytest.mark.parametrize("name", list(VALUES))
def test_a_value_that_was_changed_is_stored_again(name: bytes, directory: Path) -> None:
    path = filled(directory)
    changed = bytearray(path.read_bytes())
    place = changed.index(VALUES[name]) if VALUES[name] else len(changed) - 8 - 32 - 1
    changed[place] ^= 1
    path.write_bytes(changed)
    left = dict(VALUES)
    del left[name]
    assert found(directory) == left
    shelf(directory).store(VALUES[name], name)
    assert found(directory) == VALUES


@pytest.mark.parametrize("tail", [b"\0", b"\xff" * 71, b"\xff" * 200, bytes(HEAD - 1)])
def test_what_makes_no_sense_is_cut_off_with_the_next_value(tail: bytes, directory: Path) -> None:
    path = filled(directory)
    path.write_bytes(path.read_bytes() + tail)
    assert found(directory) == VALUES
    made = shelf(directory)
    for name in (b"three", b"four"):
        made.store(b"more", name)
    assert found(directory) == VALUES
    assert [bytes(shelf(directory).load(name) or b"") for name in (b"three", b"four")] == [b"more", b"more"]
    assert tail not in path.read_bytes() or not any(tail)


def test_cut_short_anywhere(directory: Path) -> None:
    path = filled(directory)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        kept = found(directory)
        assert kept.items() <= VALUES.items()
        shelf(directory).store(b"more", b"three")
        assert found(directory) == kept
        assert bytes(shelf(directory).load(b"three") or b"") == b"more"


def exchange_for_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def exchange_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


STRANGE: dict[str, Callable[[Path], object]] = {
    "a link to what is authentic": exchange_for_link,
    "a pipe": exchange_for_pipe,
    "missing": Path.unlink,
    "larger than the cap": lambda path: os.truncate(path, private_directory.MAX_VALUE + 1),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_shelf_is_replaced(case: str, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(directory)
    STRANGE[case](path)
    assert found(directory) == {}
    made = shelf(directory)
    for name, value in VALUES.items():
        made.store(value, name)
    assert found(directory) == VALUES
    assert not path.is_symlink()
    assert not caplog.records


def test_a_full_shelf_begins_anew(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(directory)
    monkeypatch.setattr(private_directory, "MAX_VALUE", 800)
    shelf(directory).store(VALUES[b"two"], b"two")
    assert found(directory) == {b"two": VALUES[b"two"]}


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_directory_that_others_may_enter(mode: int, directory: Path) -> None:
    path = filled(directory)
    before = path.read_bytes()
    directory.chmod(mode)
    assert found(directory) == {}
    shelf(directory).store(EVIL, b"three")
    assert path.read_bytes() == before


def test_a_directory_of_somebody_else(directory: Path) -> None:
    filled(directory)
    if os.geteuid() == 0:
        os.chown(directory, 12345, -1)
        assert found(directory) == {}
    assert found(Path("/usr")) == {}


def test_an_old_record_put_back_says_what_is_still_true(directory: Path) -> None:
    """The last of one name counts; what an earlier one says was stored under the same source too."""
    path = filled(directory)
    old = path.read_bytes()
    shelf(directory).store(b"verified 1, compiled again", b"one")
    assert found(directory)[b"one"] == b"verified 1, compiled again"
    path.write_bytes(old)
    assert found(directory) == VALUES


def test_writers_at_once_lose_nothing(directory: Path) -> None:
    shelf(directory).store(b"first", b"0")

    def work(number: int) -> None:
        made = shelf(directory)
        for index in range(20):
            made.store(b"%d" % number * 100, b"%d %d" % (number, index))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = shelf(directory)
    names = {b"%d %d" % (number, index): b"%d" % number * 100 for number in range(4) for index in range(20)}
    assert {name: bytes(made.load(name) or b"") for name in names} == names


def test_what_is_stored_while_it_is_open_is_found(directory: Path) -> None:
    mine, theirs = shelf(directory), shelf(directory)
    mine.store(b"of mine", b"one")
    assert bytes(mine.load(b"one") or b"") == b"of mine"
    assert bytes(theirs.load(b"one") or b"") == b"of mine"
    theirs.store(b"of theirs", b"two")
    assert bytes(mine.load(b"two") or b"") == b"of theirs"
    mine.store(b"of mine", b"three")
    assert [bytes(theirs.load(name) or b"") for name in (b"one", b"two", b"three")] == [
        b"of mine", b"of theirs", b"of mine"
    ]  # fmt: skip


def test_attack_6_what_is_put_there_while_it_is_open_is_not_believed(directory: Path) -> None:
    made = shelf(directory)
    made.store(VALUES[b"one"], b"one")
    [path] = [path for path in directory.iterdir() if path.name != "key"]
    content = path.read_bytes()
    name = value_name("", (b"evil",))
    path.write_bytes(content + content[:32] + name + content[64:])
    assert made.load(b"evil") is None
    assert bytes(made.load(b"one") or b"") == VALUES[b"one"]


def test_a_full_shelf_keeps_the_newer_half(directory: Path) -> None:
    made = Shelf(PrivateCache(directory), "sample", most=4 * (HEAD + 100))
    for number in range(5):
        made.store(bytes(100), b"%d" % number)
        assert bytes(made.load(b"%d" % number) or b"") == bytes(100)
    for seen in (made, Shelf(PrivateCache(directory), "sample")):
        assert [seen.load(b"%d" % number) is not None for number in range(5)] == [False, False, True, True, True]


def test_a_value_that_is_more_than_a_full_shelf_may_have_empties_it_at_most(directory: Path) -> None:
    made = Shelf(PrivateCache(directory), "sample", most=HEAD + 100)
    for number in range(3):
        made.store(bytes(100), b"%d" % number)
    assert [made.load(b"%d" % number) is not None for number in range(3)] == [False, False, True]


@given(st.binary(max_size=400))
def test_any_bytes_are_read(content: bytes) -> None:
    records, end = records_of(memoryview(content))
    assert 0 <= end <= len(content)
    assert all(len(value) <= len(content) for _, value in records.values())
