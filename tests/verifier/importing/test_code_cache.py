"""The code cache: nothing that is not authentic is ever read by ``marshal``, and no fault in it is more than slow."""

from __future__ import annotations

import hmac
import importlib.util
import logging
import marshal
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.importing.conftest import Make
from verifier.importing import CodeCache, code_cache, register

SOURCE = b"WHO = 'verified'\n"
NAME = "<loadlock sha256:0>/sample_plugin/core.py"
CODE = compile(SOURCE, NAME, "exec", dont_inherit=True)
EVIL = compile("WHO = 'evil'", NAME, "exec", dont_inherit=True)
PLUGIN = {"sample_plugin/__init__.py": "", "sample_plugin/core.py": SOURCE}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache of a test lies; not made yet."""
    return tmp_path / "cache"


def entry_of(directory: Path) -> Path:
    """The one entry of a cache."""
    [entry] = [path for path in directory.iterdir() if path.name != "key"]
    return entry


def filled(directory: Path) -> Path:
    """A cache that holds one module; the path of its entry."""
    cache = CodeCache(directory)
    cache.store(SOURCE, NAME, CODE)
    assert cache.load(SOURCE, NAME) == CODE
    return entry_of(directory)


def not_used(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cache in this directory reads and writes nothing, and says so once."""
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in directory.iterdir())
    cache = CodeCache(directory)
    for _ in range(2):
        cache.store(SOURCE, NAME, CODE)
        assert cache.load(SOURCE, NAME) is None
    assert not cache.usable
    assert sorted((path.name, path.lstat().st_mtime_ns) for path in directory.iterdir()) == before
    [record] = caplog.records
    assert (record.name, record.levelno) == ("verifier.importing.code_cache", logging.WARNING)
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
    assert not CodeCache(tmp_path / "file").usable
    assert not CodeCache(tmp_path / "file" / "below").usable
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


def under_another_key(entry: Path) -> None:
    code = marshal.dumps(EVIL)
    entry.write_bytes(hmac.digest(bytes(32), bytes.fromhex(entry.name) + code, "sha256") + code)


def sparse(entry: Path) -> None:
    os.truncate(entry, code_cache.MAX_ENTRY + 1)


ENTRIES: dict[str, Callable[[Path], object]] = {
    "poisoned, its tag kept": lambda entry: entry.write_bytes(entry.read_bytes()[:32] + marshal.dumps(EVIL)),
    "poisoned, tagged under another key": under_another_key,
    "poisoned, as Python's own bytecode": lambda entry: entry.write_bytes(
        importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(EVIL)
    ),
    "cut short": lambda entry: os.truncate(entry, entry.stat().st_size - 1),
    "cut within its tag": lambda entry: os.truncate(entry, 20),
    "empty": lambda entry: os.truncate(entry, 0),
    "its tag alone": lambda entry: os.truncate(entry, 32),
    "appended to": lambda entry: entry.write_bytes(entry.read_bytes() + b"\0"),
    "larger than the cap": sparse,
    "a link to what is authentic": exchange_for_link,
    "a pipe": exchange_for_pipe,
}


@pytest.mark.parametrize("case", ENTRIES)
def test_entry_that_is_not_authentic_is_never_executed_and_is_replaced(
    case: str, directory: Path, made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    registration = made(PLUGIN)
    registration.unregister()
    first = register(registration.snapshot, cache=CodeCache(directory))
    first.import_module("sample_plugin.core")
    first.unregister()
    sound = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "key"}
    assert len(sound) == 2
    for name in sound:
        ENTRIES[case](directory / name)
    second = register(registration.snapshot, cache=CodeCache(directory))
    assert second.import_module("sample_plugin.core").WHO == "verified"
    second.unregister()
    assert {name: (directory / name).read_bytes() for name in sound} == sound
    assert not any((directory / name).is_symlink() for name in sound)
    assert not caplog.records


def test_authentic_entry_under_another_name_is_refused(directory: Path) -> None:
    entry = filled(directory)
    cache = CodeCache(directory)
    cache.store(b"other", NAME, EVIL)
    [other] = [path for path in directory.iterdir() if path.name not in {"key", entry.name}]
    other.replace(entry)
    assert cache.load(SOURCE, NAME) is None


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
    assert CodeCache(entry.parent).load(SOURCE, NAME) is None


def test_entry_in_place_of_which_is_a_directory(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    exchange_for_directory(filled(directory))
    cache = CodeCache(directory)
    for _ in range(2):
        assert cache.load(SOURCE, NAME) is None
        cache.store(SOURCE, NAME, CODE)
    [record] = caplog.records
    assert "nothing more is stored" in record.getMessage()
    assert cache.usable
    assert sorted(path.name for path in directory.iterdir() if not path.is_dir()) == ["key"]


@pytest.mark.parametrize("value", [b"", b"\x00", b"N", marshal.dumps("text"), b"\xff" * 9])
def test_authentic_value_that_is_no_code(value: bytes, directory: Path) -> None:
    entry = filled(directory)
    key, name = (directory / "key").read_bytes(), bytes.fromhex(entry.name)
    entry.write_bytes(hmac.digest(key, name + value, "sha256") + value)
    assert CodeCache(directory).load(SOURCE, NAME) is None


def test_directory_closed_from_outside(directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(directory)
    (tmp_path / "other").mkdir()
    for reopened in (False, True):
        cache = CodeCache(directory)
        number = cache._directory
        os.close(number)
        other = os.open(tmp_path / "other", os.O_RDONLY) if reopened else None
        assert cache.load(SOURCE, NAME) is None
        cache.store(SOURCE, NAME, CODE)
        assert not cache.usable
        if other is not None:
            assert other == number
            os.close(other)
    assert not list((tmp_path / "other").iterdir())
    assert [record.getMessage() for record in caplog.records] == [
        "the code cache is no longer used: its directory was closed from outside"
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
    ("source", "file_name"), [(SOURCE + b"\n", NAME), (SOURCE, f"{NAME}x"), (SOURCE + NAME[:1].encode(), NAME[1:])]
)
def test_other_source_or_name_is_another_entry(source: bytes, file_name: str, directory: Path) -> None:
    filled(directory)
    assert CodeCache(directory).load(source, file_name) is None


@pytest.mark.parametrize("what", ["magic", "tag"])
def test_other_interpreter_is_another_entry(what: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(directory)
    if what == "magic":
        monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\x01\x02\r\n")
    else:
        monkeypatch.setattr(sys.implementation, "cache_tag", "other-1")
    assert CodeCache(directory).load(SOURCE, NAME) is None


def test_code_beyond_the_cap_is_not_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache, "MAX_ENTRY", 64)
    CodeCache(directory).store(SOURCE, NAME, CODE)
    assert [path.name for path in directory.iterdir()] == ["key"]


def test_oldest_entries_make_room(directory: Path) -> None:
    size = filled(directory).stat().st_size
    cache = CodeCache(directory, max_total=10 * size)
    for number in range(30):
        cache.store(SOURCE, f"{NAME[:-2]}{number:02}", CODE)
        for age, path in enumerate(sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, ns=(age, age))
    left = [path for path in directory.iterdir() if path.name != "key"]
    assert 5 * size < sum(path.stat().st_size for path in left) <= 10 * size
    assert cache.load(SOURCE, f"{NAME[:-2]}29") is not None
    assert cache.load(SOURCE, f"{NAME[:-2]}00") is None
    assert cache.usable


def test_threads(directory: Path) -> None:
    cache, wrong = CodeCache(directory, max_total=1), []

    def work() -> None:
        for _ in range(50):
            cache.store(SOURCE, NAME, CODE)
            found = cache.load(SOURCE, NAME)
            if found is not None and found != CODE:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.usable


def test_forked_child(directory: Path) -> None:
    cache = CodeCache(directory)
    cache._counting.acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        cache.store(SOURCE, NAME, CODE)
        os._exit(0 if cache.load(SOURCE, NAME) == CODE else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.load(SOURCE, NAME) == CODE


HOST = """
import sys
compiled = []
ours = lambda event, found: event == "compile" and str(found[1]).startswith("<loadlock")
sys.addaudithook(lambda *seen: ours(*seen) and compiled.append(1))
from pathlib import Path
from verifier.importing import CodeCache, register
from verifier.wheel import read_wheel
wheel = Path(sys.argv[1])
plugin = register(read_wheel(wheel.read_bytes(), wheel.name), cache=CodeCache(sys.argv[2]))
core = plugin.import_module("sample_plugin.core")
print(len(compiled), core.WHO, core.CHECKED, core.who.__code__.co_filename)
"""


@pytest.fixture
def start(tmp_path: Path, directory: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a host of its own that imports a plugin through the cache, and says how often it compiled."""
    from tests.wheels import build_wheel

    source = "WHO = 'verified'\nCHECKED = False\nassert (CHECKED := True)\ndef who(): return WHO\n"
    wheel = build_wheel({"sample_plugin/__init__.py": "", "sample_plugin/core.py": source})
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    root = Path(__file__).parents[3]

    def start(*options: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, *options, "-c", HOST, str(tmp_path / wheel.file_name), str(directory)]
        return subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, text=True)

    return start


def said(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output.split(maxsplit=3)


def test_second_process_compiles_nothing(start: Callable[..., subprocess.Popen[str]], directory: Path) -> None:
    assert said(start())[:3] == ["2", "verified", "True"]
    count, _, _, file_name = said(start())
    assert count == "0"
    assert file_name.startswith("<loadlock sha256:")
    assert said(start("-O"))[:3] == ["2", "verified", "False"]
    assert said(start())[:3] == ["0", "verified", "True"]
    assert len(list(directory.iterdir())) == 5


def test_processes_that_start_at_once_agree_on_a_key(
    start: Callable[..., subprocess.Popen[str]], directory: Path
) -> None:
    assert {said(process)[1] for process in [start() for _ in range(6)]} == {"verified"}
    assert said(start())[0] == "0"
    assert len(list(directory.iterdir())) == 3


def test_modules_are_compiled_where_the_cache_is_unsafe(
    start: Callable[..., subprocess.Popen[str]], directory: Path
) -> None:
    said(start())
    directory.chmod(0o755)
    assert said(start())[:2] == ["2", "verified"]
