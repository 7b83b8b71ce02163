"""Files of a private directory, each opened once and judged through its descriptor: what a private cache is made of.

Nothing here follows a link or waits for a pipe, and what is written appears whole under its name, or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable, Iterable
from typing import Final

from verifier.value import Value

Spans = tuple[tuple[int, int], ...]
"""Parts of a file: offset and length of each, in bytes."""


class Used(Value, frozen=True):
    """What tells which parts of a file are used.

    Attributes:
        rule: by which it tells, with a number that is raised when the rule changes.
        spans: of a file whose content is authentic, by its descriptor.
    """

    rule: bytes
    spans: Callable[[int], Spans]


MAX_VALUE: Final = 64 << 20
"""Bytes of one value; a larger one is not kept."""

SETTLED: Final = 2_000_000_000
"""Nanoseconds that a file must have been left alone before its state is relied on: times may be as coarse as that."""

TAG_BYTES: Final = 32
KEY_NAME: Final = "key"
_KEY_BYTES: Final = 32
_PRIVATE: Final = 0o077  # permission bits that a private file or directory has none of
_ZEROS: Final = 1 << 20  # bytes that are written at once
_POSIX: Final = os.name == "posix"
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC if _POSIX else 0
_READ: Final = os.O_RDONLY | _SAFE
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE


_LENGTH: Final = struct.Struct("<I").pack


class Unsafe(Exception):
    """Something is there, and is not what this class makes."""


def value_name(kind: str, parts: tuple[bytes, ...]) -> bytes:
    """What a value is looked up by: everything it depends on, each part with its length before it."""
    return hashlib.sha256(b"".join([_LENGTH(len(part)) + part for part in (kind.encode(), *parts)])).digest()


def open_directory(path: str) -> int:
    """A descriptor of the directory, so that nothing that happens to its path later matters (1)."""
    if not _POSIX:
        raise Unsafe("this system does not say whose a directory is")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check_private(os.fstat(descriptor), "its directory")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def identity_of(descriptor: int) -> tuple[int, int] | None:
    """What a descriptor stands for; None if for nothing."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_private(found: os.stat_result, what: str) -> None:
    if found.st_uid != os.geteuid():
        raise Unsafe(f"{what} belongs to user {found.st_uid}, not {os.geteuid()}")
    if found.st_mode & _PRIVATE:
        raise Unsafe(f"others may use {what} (mode {stat.S_IMODE(found.st_mode):04o})")


def read_key(directory: int) -> bytes:
    """The key; empty if there is none yet (2)."""
    try:
        descriptor = os.open(KEY_NAME, _READ, dir_fd=directory)
    except FileNotFoundError:
        return b""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != _KEY_BYTES:
            raise Unsafe("its key is not what a key is")
        _check_private(found, "its key")
        return os.read(descriptor, _KEY_BYTES)
    finally:
        os.close(descriptor)


def make_key(directory: int) -> bytes:
    """Make the key, whole or not at all; of several processes that do so at once, one wins and all use that one."""
    temporary = _fill(directory, os.urandom(_KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, KEY_NAME, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    finally:
        os.unlink(temporary, dir_fd=directory)
    return read_key(directory)


def open_value(directory: int, name: str, head: int = TAG_BYTES) -> tuple[int, int]:
    """A descriptor of a regular file of sane size (3), and its value's length; never a link, and never waited for.

    Args:
        directory: the descriptor of the private directory.
        name: of the file.
        head: bytes before the value.
    """
    descriptor = os.open(name, _READ, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        size = found.st_size - head
        if not stat.S_ISREG(found.st_mode) or not 0 <= size <= MAX_VALUE:
            raise Unsafe(f"{name!r} in it is no file of the expected size")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, size


def read_value(directory: int, name: str) -> tuple[bytes, bytes]:
    """Tag and value."""
    descriptor, size = open_value(directory, name)
    try:
        return os.read(descriptor, TAG_BYTES), os.read(descriptor, size)
    finally:
        os.close(descriptor)


def change_of(descriptor: int) -> bytes:
    """Which file this is, and which of its states: another file, and the same after a change, give something else."""
    return state_of(os.fstat(descriptor))


def state_of(found: os.stat_result) -> bytes:
    """The same, of a file that the system was asked about."""
    return repr((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)).encode()


def is_settled(descriptor: int) -> bool:
    """Whether a file has been left alone for so long that a later change cannot bear the same time."""
    found = os.fstat(descriptor)
    return max(found.st_mtime_ns, found.st_ctime_ns) < time.time_ns() - SETTLED


def send(source: int, target: int, offset: int, size: int, spans: Iterable[tuple[int, int]]) -> None:
    """Copy a part of a file into an empty one, within the system.

    Args:
        source: copied from.
        target: becomes ``size`` bytes long.
        offset: where the part begins.
        size: its length.
        spans: what of the part is copied, and what shares a page of memory with it. The rest is zeros then, and takes
            no memory.

    Raises:
        OSError: it cannot be read or written.
    """
    os.ftruncate(target, size)
    for start, end in pages(spans, size):
        at = os.lseek(target, start, os.SEEK_SET)
        while at < end:
            sent = os.sendfile(target, source, offset + at, end - at)
            if not sent:
                return
            at += sent


def leave_only(target: int, size: int, spans: Iterable[tuple[int, int]]) -> None:
    """Make zeros of what :func:`send` would not have copied.

    Raises:
        OSError: it cannot be written.
    """
    end_before = 0
    for start, end in (*pages(spans, size), (size, size)):
        while end_before < start:
            end_before += os.pwrite(target, bytes(min(start - end_before, _ZEROS)), end_before)
        end_before = end


def pages(spans: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Beginning and end of each run of pages of memory that hold something of these parts of a file, in order."""
    found: list[tuple[int, int]] = []
    for offset, length in sorted(span for span in spans if span[1]):
        start = offset - offset % mmap.PAGESIZE
        end = min(size, offset + length + -(offset + length) % mmap.PAGESIZE)
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif start < end:
            found.append((start, end))
    return found


def empty(descriptor: int) -> None:
    """Take all that was written out of a file."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of it; the system may write less at once.

    Raises:
        OSError: it cannot be written.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def replace(directory: int, name: str, *content: bytes) -> None:
    """Replace a file in one step. It need not survive a crash whole: what does not is not authentic."""
    temporary = _fill(directory, *content)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        return  # another process made room
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


def read_raw(directory: int, name: str) -> bytes:
    """All that lies under a name, which nobody has authenticated yet."""
    descriptor, size = open_value(directory, name, head=0)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def append(directory: int, name: str, content: bytes) -> bool:
    """Write something to the end of a file, which is made if it is missing; whether that was possible."""
    try:
        descriptor = os.open(name, _APPEND, 0o600, dir_fd=directory)
    except OSError:
        return False  # a link, a pipe, a directory
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size + len(content) > MAX_VALUE:
            return False
        return os.write(descriptor, content) == len(content)
    finally:
        os.close(descriptor)


def tells_of_changes(directory: int) -> bool:
    """Whether it is the system that says when a file here was last changed (st_ctime), so that nobody can hide it.

    Some file systems have one time only, which the owner of a file may set. So a file's time of writing is set back to
    the beginning of time; where the system keeps the other by itself, that stays.

    Raises:
        OSError: no file can be made.
    """
    name = _fill(directory)
    try:
        made = os.stat(name, dir_fd=directory, follow_symlinks=False)
        os.utime(name, ns=(0, 0), dir_fd=directory, follow_symlinks=False)
        changed = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return changed.st_mtime_ns == 0 and changed.st_ctime_ns >= made.st_ctime_ns > 0
    finally:
        os.unlink(name, dir_fd=directory)


def _fill(directory: int, *content: bytes) -> str:
    """Make a file that was not there and is for us alone; its name."""
    name = f".{os.urandom(16).hex()}"
    with os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=directory), "wb") as stream:
        try:
            stream.writelines(content)
            stream.flush()
        except BaseException:
            os.unlink(name, dir_fd=directory)
            raise
    return name


def entries(directory: int) -> list[tuple[int, int, str]]:
    """(time of writing, size, name) of each entry and each left-over of a writer that was killed."""
    found = []
    with os.scandir(directory) as listing:
        for entry in listing:
            if entry.name != KEY_NAME:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(status.st_mode):
                        found.append((status.st_mtime_ns, status.st_size, entry.name))
    return found
