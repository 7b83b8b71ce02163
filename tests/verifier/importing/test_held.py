"""Sealed files of another process: used if they are what that process sealed and told of, and else made anew."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.verifier.importing.children import start_child
from tests.verifier.importing.conftest import compiled
from tests.wheels import build_wheel
from verifier.importing import sealed
from verifier.importing.sealed import Held, holding, sealed_path
from verifier.private_cache import PrivateCache
from verifier.private_directory import change_of

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
CONTENT, EVIL = b"verified" * 100, b"tampered" * 100

START = """
import json, os
from verifier.wheels.snapshot import Contents
cache, path = PrivateCache(sys.argv.pop()), Path(sys.argv.pop())
poured, pour = [], Contents.pour
Contents.pour = lambda files, path, *rest: (poured.append(path), pour(files, path, *rest))
plugin = register(read_wheel(path.read_bytes(), path.name), cache=CodeCache(cache))
assert callable(plugin.import_module("rpds.rpds").HashTrieMap)
[mapped] = {line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if "rpds.abi" in line}
print(json.dumps([poured, mapped]), flush=True)
"""
STAY = "sys.stdin.read()\n"
EXCHANGE = """
import fcntl
from verifier.importing import sealed
[number] = [file.descriptor for file in sealed._FILES.values()]
evil = os.memfd_create(os.readlink(f"/proc/self/fd/{number}")[7:].partition(" (")[0], os.MFD_ALLOW_SEALING)
os.sendfile(evil, number, 0, os.fstat(number).st_size)
fcntl.fcntl(evil, fcntl.F_ADD_SEALS, 15)
os.dup2(evil, number)
print("exchanged", flush=True)
"""


def fill(descriptor: int) -> None:
    os.write(descriptor, CONTENT)


def not_to_be_filled(descriptor: int) -> None:
    raise AssertionError("the file of the other process was to be used")


@pytest.fixture
def arguments(tmp_path: Path) -> list[Path]:
    """Where a wheel with a compiled module lies, and a cache."""
    wheel = build_wheel({"rpds/__init__.py": "", "rpds/rpds.abi3.so": compiled("rpds.rpds")}, name="rpds-py")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    return [tmp_path / wheel.file_name, tmp_path / "cache"]


Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(bare: Path, arguments: list[Path]) -> Iterator[Start]:
    """Start a host that imports the module, prints what it copied and which file it has mapped, and goes on."""
    started: list[subprocess.Popen[str]] = []

    def run(then: str) -> subprocess.Popen[str]:
        begin = f"sys.argv += {[str(path) for path in arguments]!r}\n"
        started.append(start_child(bare, begin + START + then, []))
        return started[-1]

    yield run
    for process in started:
        process.communicate(timeout=60)


def said(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    """What a host copied, and the inode that it has mapped."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    copied, inode = json.loads(line or process.stderr.read())
    return copied, inode


COPIED = ["rpds/rpds.abi3.so"]


def test_a_process_uses_what_another_one_has_sealed(start: Start) -> None:
    first = said(start(STAY))
    second = said(start(STAY))
    third = said(start(""))
    assert first[0] == COPIED
    assert (second, third) == (([], first[1]), ([], first[1]))


def test_what_a_process_had_goes_with_it(start: Start) -> None:
    first = start("")
    assert said(first)[0] == COPIED
    first.wait(timeout=60)
    assert said(start(""))[0] == COPIED


def test_attack_2_another_file_under_the_number_is_not_used(start: Start) -> None:
    """A process that does not know the cache's key seals something of the same name and size, and puts it there."""
    holder = start(EXCHANGE + STAY)
    _, inode = said(holder)
    assert holder.stdout is not None
    assert holder.stderr is not None
    assert holder.stdout.readline() == "exchanged\n", holder.stderr.read()
    copied, mapped = said(start(""))
    assert copied == COPIED
    assert mapped != inode


def test_attack_53_what_is_told_is_authentic(start: Start, arguments: list[Path]) -> None:
    said(start(STAY))
    for entry in arguments[1].iterdir():
        if entry.name != "key":
            content = bytearray(entry.read_bytes())
            content[-1] ^= 1
            entry.write_bytes(content)
    assert said(start(""))[0] == COPIED


def sealed_file(name: str, content: bytes, seals: int = SEALS) -> int:
    descriptor = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def key(test: str) -> tuple[str, str]:
    """A wheel that no other test has."""
    return f"sha256:{test}", "sample_plugin/fast.so"


def open_here(name: str) -> int:
    """How many descriptors this process has of files in memory of that name, or of a file of that path."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that the list was read by
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return links.count(name)


def content_given(test: str, held: Held) -> bytes:
    """What a start is given that knows of this file, of which it keeps no descriptor."""
    link = f"/proc/{held.process}/fd/{held.descriptor}"
    name = os.readlink(link) if held.process == os.getpid() else ""
    before = open_here(name)
    content = Path(sealed_path(key(test), fill, held)).read_bytes()
    assert open_here(name) == before
    return content


def test_the_very_file_is_used() -> None:
    descriptor = sealed_file("loadlock x", CONTENT)
    path = sealed_path(key("very"), not_to_be_filled, Held(os.getpid(), descriptor, change_of(descriptor)))
    assert path != f"/proc/self/fd/{descriptor}"
    assert os.stat(path).st_ino == os.fstat(descriptor).st_ino
    os.close(descriptor)
    assert Path(path).read_bytes() == CONTENT
    found = holding(key("very"))
    assert found is not None
    assert not found[1]


@pytest.mark.parametrize("missing", ["F_SEAL_WRITE", "F_SEAL_GROW", "F_SEAL_SHRINK", "F_SEAL_SEAL"])
def test_what_could_still_be_changed_is_not_used(missing: str) -> None:
    descriptor = sealed_file("loadlock x", EVIL, SEALS & ~getattr(fcntl, missing))
    assert content_given(missing, Held(os.getpid(), descriptor, change_of(descriptor))) == CONTENT
    os.close(descriptor)


def test_a_file_in_another_state_is_not_used() -> None:
    first, second = sealed_file("loadlock x", EVIL), sealed_file("loadlock x", EVIL)
    assert content_given("state", Held(os.getpid(), first, change_of(second))) == CONTENT
    os.fchmod(first, 0o400)  # changes the time of change, and nothing else that is told
    assert content_given("time", Held(os.getpid(), first, change_of(second))) == CONTENT
    os.close(first)
    os.close(second)


def test_nothing_but_our_files_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(EVIL)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    other = sealed_file("of another program", EVIL)
    assert content_given("disk", Held(os.getpid(), descriptor, change_of(descriptor))) == CONTENT
    assert content_given("program", Held(os.getpid(), other, change_of(other))) == CONTENT
    monkeypatch.setattr(sealed, "_SHOWN_AS", str(tmp_path))
    assert content_given("no seals", Held(os.getpid(), descriptor, change_of(descriptor))) == CONTENT
    os.close(descriptor)
    os.close(other)


def test_nobody_there() -> None:
    gone = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    gone.wait()
    assert content_given("gone", Held(gone.pid, 3, b"any")) == CONTENT


def test_number_of_an_adopted_file_is_never_used_again(child: Callable[..., str]) -> None:
    code = """
import fcntl, os
from verifier.importing.sealed import Held, sealed_path
from verifier.private_directory import change_of
other = os.memfd_create("loadlock x", os.MFD_ALLOW_SEALING)
fcntl.fcntl(other, fcntl.F_ADD_SEALS, 15)
held = Held(os.getpid(), other, change_of(other))
first = sealed_path(("sha256:0", "first"), None, held)
os.close(int(first.rpartition("/")[2]))
print(sealed_path(("sha256:0", "second"), None, held) != first, sealed_path(("sha256:0", "first"), None, held) != first)
"""
    assert child(code) == "True True\n"


def test_what_is_told_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.verifier.importing.elf_files import shared_library
    from tests.verifier.importing.test_libraries import MODULE, libraries_of

    stored = list[str]()
    cache = PrivateCache(tmp_path / "cache")
    monkeypatch.setattr(cache, "store", lambda value, kind, *parts: stored.append(kind))
    libraries = libraries_of({MODULE: shared_library()})
    libraries.tell()
    libraries._cache = cache
    libraries.tell()
    libraries.path_of(MODULE)
    libraries.tell()
    libraries.tell()
    assert stored == ["needed", "held"]
