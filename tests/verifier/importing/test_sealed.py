"""Sealed files: nobody changes them, their numbers are never used twice, and without them nothing is loaded."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from verifier.errors import Refused
from verifier.importing.sealed import sealed_path

Child = Callable[..., str]
CONTENT = b"verified" * 100
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
NOT_TO_BE_RUN = 0x0008


def fill(descriptor: int) -> None:
    os.write(descriptor, CONTENT)


def key(test: str) -> tuple[str, str]:
    """A wheel that no other test has."""
    return f"sha256:{test}", "sample_plugin/fast.so"


def test_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Refused) as refusal:
        sealed_path(key("not linux"), fill)
    assert refusal.value.code == "wheel.unsupported"


ATTEMPTS: dict[str, Callable[[int], object]] = {
    "write": lambda descriptor: os.pwrite(descriptor, b"evil", 0),
    "append": lambda descriptor: os.pwrite(descriptor, b"evil", len(CONTENT)),
    "shrink": lambda descriptor: os.ftruncate(descriptor, 1),
    "grow": lambda descriptor: os.ftruncate(descriptor, 1 << 20),
    "unseal": lambda descriptor: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nobody_changes_it(attempt: str) -> None:
    path = sealed_path(key("change"), fill)
    descriptor = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(PermissionError) as failure:
            ATTEMPTS[attempt](descriptor)
        assert failure.value.errno == errno.EPERM
    finally:
        os.close(descriptor)
    assert Path(path).read_bytes() == CONTENT


def test_nobody_maps_it_to_write() -> None:
    import mmap

    descriptor = os.open(sealed_path(key("map"), fill), os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, len(CONTENT), flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(descriptor)


def test_seals_and_mode() -> None:
    path = sealed_path(key("seals"), fill)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS == SEALS
        assert not os.get_inheritable(int(path.rpartition("/")[2]))
    finally:
        os.close(descriptor)
    try:
        probe = os.memfd_create("probe", NOT_TO_BE_RUN)
    except OSError:
        return  # a kernel that has no such files, nor a setting that asks for them
    os.close(probe)
    assert os.stat(path).st_mode & 0o111 == 0


def test_same_file_again() -> None:
    assert sealed_path(key("again"), fill) == sealed_path(key("again"), fill)
    assert sealed_path(key("again"), fill) != sealed_path(key("other"), fill)


def test_long_name() -> None:
    assert Path(sealed_path(("sha256:long", "x" * 500), fill)).read_bytes() == CONTENT


# Each works on descriptors of its own process: closing those of the test runner would end it.
CLOSED = """
import os
from verifier.importing.sealed import sealed_path
first = sealed_path(("sha256:0", "first"), lambda descriptor: os.write(descriptor, b"first"))
os.close(int(first.rpartition("/")[2]))
"""


def test_closed_descriptor_is_made_again_under_another_number(child: Child) -> None:
    code = """
again = sealed_path(("sha256:0", "first"), lambda descriptor: os.write(descriptor, b"first"))
print(again != first, open(again).read())
"""
    assert child(CLOSED + code) == "True first\n"


def test_number_is_never_used_for_a_second_file(child: Child) -> None:
    code = """
def other(descriptor):
    os.write(descriptor, b"other")
others = {sealed_path(("sha256:0", str(number)), other) for number in range(20)}
print(len(others), first in others, {open(other).read() for other in others})
"""
    assert child(CLOSED + code) == "20 False {'other'}\n"


def test_descriptor_that_was_exchanged(child: Child) -> None:
    code = """
evil = os.memfd_create("evil")
os.write(evil, b"evil")
os.dup2(evil, int(first.rpartition("/")[2]))
print(open(sealed_path(("sha256:0", "first"), lambda descriptor: os.write(descriptor, b"first"))).read())
"""
    assert child(CLOSED + code) == "first\n"


@pytest.mark.parametrize(
    "limit", ["RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) - 1,) * 2", "RLIMIT_FSIZE, (100, 100)"]
)
def test_no_sealed_memory_to_be_had(limit: str, child: Child) -> None:
    code = f"""
import fcntl, os, resource
from verifier.importing.sealed import sealed_path
from verifier.private_cache import write_all
resource.setrlimit(resource.{limit})
try:
    sealed_path(("sha256:0", "first"), lambda descriptor: write_all(descriptor, bytes(1000)))
except Refused as refusal:
    print(refusal.code, refusal.found)
"""
    said = child(code)
    assert said in {"wheel.unsupported Too many open files\n", "wheel.unsupported File too large\n"}


def test_failure_leaves_no_descriptor(child: Child) -> None:
    code = """
import fcntl, os, resource
from verifier.importing.sealed import sealed_path
from verifier.private_cache import write_all
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
before = os.listdir("/proc/self/fd")
try:
    sealed_path(("sha256:0", "first"), lambda descriptor: write_all(descriptor, bytes(1000)))
except Refused:
    print(os.listdir("/proc/self/fd") == before)
"""
    assert child(code) == "True\n"
