"""The code cache: ``marshal`` never reads what is not authentic, and what is not is compiled again."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import marshal
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verifier.importing.conftest import Make
from tests.verifier.kept_entries import entry_of
from tests.wheels import build_wheel
from verifier.importing import CodeCache, code_cache, register
from verifier.private_cache import PrivateCache
from verifier.shelves import Shelf

HEAD = struct.Struct("<32s32sQ")
SOURCE = b"WHO = 'verified'\n"
DIGEST = hashlib.sha256(SOURCE).digest()
NAME = "loadlock:sha256:0/sample_plugin/core.py"
CODE = compile(SOURCE, NAME, "exec", dont_inherit=True)
EVIL = compile("WHO = 'evil'", NAME, "exec", dont_inherit=True)
PLUGIN = {"sample_plugin/__init__.py": "", "sample_plugin/core.py": SOURCE}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the cache of a test lies; not made yet."""
    return tmp_path / "cache"


def cache_in(directory: Path) -> CodeCache:
    return CodeCache(PrivateCache(directory))


def filled(directory: Path) -> None:
    """A cache that holds the code of one module."""
    cache_in(directory).store(DIGEST, NAME, CODE)
    assert cache_in(directory).load(DIGEST, NAME) == CODE


def forged(entry: Path, key: bytes) -> bytes:
    """The shelf with other code in each record, tagged under a key; a real tag stays where there is no key."""
    content, made = entry.read_bytes(), b""
    while content:
        tag, name, length = HEAD.unpack_from(content)
        code = marshal.dumps(EVIL)
        if key:
            tag = hmac.digest(key, bytes.fromhex(entry.name) + name + hashlib.sha256(code).digest(), "sha256")
        made += HEAD.pack(tag, name, len(code)) + code
        content = content[HEAD.size + length :]
    return made


POISONS: dict[str, Callable[[Path], object]] = {
    "its tags kept": lambda entry: entry.write_bytes(forged(entry, b"")),
    "tagged under another key": lambda entry: entry.write_bytes(forged(entry, bytes(32))),
    "as Python's own bytecode": lambda entry: entry.write_bytes(
        importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(EVIL)
    ),
    "code that crashes what reads it": lambda entry: entry.write_bytes(
        entry.read_bytes()[:64] + (5).to_bytes(8, "little") + b"(\xff\xff\xff\x7f"
    ),
    "cut short": lambda entry: os.truncate(entry, entry.stat().st_size - 1),
}


@pytest.mark.parametrize("case", POISONS)
def test_attack_6_poisoned_entry_is_never_executed_and_is_replaced(
    case: str, directory: Path, made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    registration = made(PLUGIN)
    registration.unregister()

    def value() -> object:
        plugin = register(registration.snapshot, cache=cache_in(directory))
        who = plugin.import_module("sample_plugin.core").WHO
        plugin.unregister()
        return who

    value()
    shelf = entry_of(directory)
    POISONS[case](shelf)
    assert value() == "verified"
    replaced = shelf.read_bytes()
    assert value() == "verified"
    assert shelf.read_bytes() == replaced, "nothing was compiled again"
    assert not caplog.records


def test_real_forgery_needs_the_key(directory: Path, made: Make) -> None:
    """What the forgery above would do under the cache's own key: it is the key alone that keeps it out."""
    registration = made(PLUGIN)
    registration.unregister()
    first = register(registration.snapshot, cache=cache_in(directory))
    first.import_module("sample_plugin.core")
    first.unregister()
    shelf = entry_of(directory)
    shelf.write_bytes(forged(shelf, (directory / "key").read_bytes()))
    second = register(registration.snapshot, cache=cache_in(directory))
    assert second.import_module("sample_plugin.core").WHO == "evil"
    second.unregister()


@pytest.mark.parametrize("value", [b"", b"\x00", b"N", marshal.dumps("text"), b"\xff" * 9])
def test_authentic_value_that_is_no_code(value: bytes, directory: Path) -> None:
    Shelf(PrivateCache(directory), "code", *code_cache._shelf(NAME)).store(value, *code_cache._parts(DIGEST, NAME))
    assert cache_in(directory).load(DIGEST, NAME) is None


@pytest.mark.parametrize(("source", "file_name"), [(SOURCE + b"\n", NAME), (SOURCE, f"{NAME}x")])
def test_other_source_or_name(source: bytes, file_name: str, directory: Path) -> None:
    filled(directory)
    assert cache_in(directory).load(hashlib.sha256(source).digest(), file_name) is None


@pytest.mark.parametrize("what", ["magic", "tag"])
def test_other_interpreter(what: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(directory)
    if what == "magic":
        monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\x01\x02\r\n")
    else:
        monkeypatch.setattr(sys.implementation, "cache_tag", "other-1")
    assert cache_in(directory).load(DIGEST, NAME) is None


def test_code_beyond_the_cap_is_not_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache, "MAX_CODE", 16)
    cache_in(directory).store(DIGEST, NAME, CODE)
    assert [path.name for path in directory.iterdir()] == ["key"]


HOST = """
import sys
compiled = []
ours = lambda event, found: event == "compile" and str(found[1]).startswith("loadlock:")
sys.addaudithook(lambda *seen: ours(*seen) and compiled.append(1))
from pathlib import Path
from verifier.importing import CodeCache, register
from verifier.private_cache import PrivateCache
from verifier.wheels.wheel import read_wheel
wheel = Path(sys.argv[1])
plugin = register(read_wheel(wheel.read_bytes(), wheel.name), cache=CodeCache(PrivateCache(sys.argv[2])))
core = plugin.import_module("sample_plugin.core")
print(len(compiled), core.WHO, core.CHECKED, core.who.__code__.co_filename)
"""


@pytest.fixture
def start(tmp_path: Path, directory: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a host of its own that imports a plugin through the cache, and says how often it compiled."""
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
    assert file_name.startswith("loadlock:sha256:")
    assert said(start("-O"))[:3] == ["2", "verified", "False"]
    assert said(start())[:3] == ["0", "verified", "True"]
    assert len(list(directory.iterdir())) == 3, "the key, and a shelf for each optimisation"


def test_processes_that_start_at_once_agree_on_a_key(
    start: Callable[..., subprocess.Popen[str]], directory: Path
) -> None:
    assert {said(process)[1] for process in [start() for _ in range(6)]} == {"verified"}
    assert said(start())[0] == "0"
    assert len(list(directory.iterdir())) == 2


def test_modules_are_compiled_where_the_cache_is_unsafe(
    start: Callable[..., subprocess.Popen[str]], directory: Path
) -> None:
    said(start())
    directory.chmod(0o755)
    assert said(start())[:2] == ["2", "verified"]
