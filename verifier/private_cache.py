"""A private directory in which a process leaves values to later ones, each authenticated before it is used.

``docs/adr/0008-code-cache.md`` says why. The directory holds a random key and, for each value, one file:

    name     sha256 over what the value depends on
    content  HMAC-SHA256(key, name ‖ sha256(value)) ‖ value

The order of work: (1) the directory is a private one of ours, (2) so is the key, (3) a file is of sane size, (4) its
HMAC holds for its name. Where (1) or (2) fails, nothing is read or written for the life of the process, and the log
says so once; where a later one fails, the value counts as missing and is replaced. A cache can so be slow, but not
wrong. It protects against other users of the machine; whoever can read the key can also change the host itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import stat
import struct
import threading
from pathlib import Path
from typing import Final

MAX_VALUE: Final = 64 << 20
"""Bytes of one value; a larger one is not kept."""

MAX_TOTAL: Final = 512 << 20
"""Bytes of all values; past it the oldest are removed until a quarter is free."""

_CHUNK: Final = 256 << 10  # bytes of a large value that are in memory at a time
_KEY_NAME: Final = "key"
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 32
_PRIVATE: Final = 0o077  # permission bits that a private file or directory has none of
_POSIX: Final = os.name == "posix"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC if _POSIX else 0
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC if _POSIX else 0

logger = logging.getLogger(__name__)


class PrivateCache:
    """A directory of authenticated values. Safe between threads, processes and forks; never raises when it fails.

    Args:
        directory: made with mode 0700 if it is missing; used only if it is a directory of this user, not a link, that
            nobody else may enter.
        max_total: bytes of all values.
    """

    def __init__(self, directory: Path | str, *, max_total: int = MAX_TOTAL) -> None:
        self._max_total = max_total
        self._total: int | None = None
        self._counting = threading.Lock()
        self._key = b""
        self._stores = False
        self._directory = -1
        try:
            self._directory = _open_directory(os.fspath(directory))
            self._identity = _identity(self._directory)
            self._key = _read_key(self._directory) or _make_key(self._directory)
            self._stores = True
        except (OSError, _Unsafe) as error:
            logger.warning("the cache is not used: %s", error)
            if self._directory >= 0:
                os.close(self._directory)

    @property
    def usable(self) -> bool:
        """Whether anything is read; False once the directory or the key were found wrong."""
        return bool(self._key)

    def load(self, kind: str, *parts: bytes) -> bytes | None:
        """The value that was stored under exactly this kind and these parts; None if there is none that is authentic.

        Args:
            kind: of value, so that those of different uses never meet.
            parts: all that the value depends on.
        """
        if not self._is_open():
            return None
        name = _name(kind, parts)
        try:
            tag, value = _read(self._directory, name.hex())
        except (OSError, _Unsafe):
            return None  # absent, or nothing that this class wrote: storing replaces it
        return value if hmac.compare_digest(self._tag(name, hashlib.sha256(value).digest()), tag) else None

    def pour(self, descriptor: int, kind: str, *parts: bytes) -> bool:
        """Write a value to a file, as :meth:`load` would give it back; a large one is never in memory twice.

        Args:
            descriptor: of an empty file that nobody else uses yet.
            kind: as for :meth:`load`.
            parts: as for :meth:`load`.

        Returns:
            Whether the file holds the value. If not, there is none that is authentic, and the file is empty again.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._is_open():
            return False
        name = _name(kind, parts)
        try:
            source, _ = _open_value(self._directory, name.hex())
        except (OSError, _Unsafe):
            return False  # as for load
        digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
        try:
            tag = os.read(source, _TAG_BYTES)
            while length := os.readv(source, [chunk]):
                digest.update(chunk[:length])
                write_all(descriptor, chunk[:length])
        finally:
            os.close(source)
        if hmac.compare_digest(self._tag(name, digest.digest()), tag):
            return True
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return False

    def store(self, value: bytes, kind: str, *parts: bytes) -> None:
        """Keep a value, in place of what may be there under its kind and parts."""
        if not self._stores or len(value) > MAX_VALUE or not self._is_open():
            return
        name = _name(kind, parts)
        try:
            _write(self._directory, name.hex(), self._tag(name, hashlib.sha256(value).digest()), value)
            self._make_room(len(value) + _TAG_BYTES)
        except OSError as error:
            self._stores = False
            logger.warning("nothing more is stored in the cache: %s", error)

    def _is_open(self) -> bool:
        """Whether the descriptor is still the directory's: a host that becomes a daemon closes all it can count to."""
        if self._key and _identity(self._directory) != self._identity:
            self._key = b""
            logger.warning("the cache is no longer used: its directory was closed from outside")
        return bool(self._key)

    def _tag(self, name: bytes, digest: bytes) -> bytes:
        return hmac.digest(self._key, name + digest, "sha256")

    def _make_room(self, added: int) -> None:
        """Count what was added; past the cap, remove the oldest entries. Another process may be doing the same."""
        if not self._counting.acquire(blocking=False):
            return  # another thread is at it; or was when this process forked, which then leaves it to others
        try:
            if self._total is not None and self._total + added <= self._max_total:
                self._total += added
                return
            entries = sorted(_entries(self._directory))
            self._total = sum(size for _, size, _ in entries)
            enough = self._total if self._total <= self._max_total else self._max_total * 3 // 4
            for _, size, name in entries:
                if self._total <= enough:
                    return
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._directory)
                self._total -= size
        finally:
            self._counting.release()


class _Unsafe(Exception):
    """Something is there, and is not what this class makes."""


def _name(kind: str, parts: tuple[bytes, ...]) -> bytes:
    """What a value is looked up by: everything it depends on, each part with its length before it."""
    return hashlib.sha256(b"".join(struct.pack("<I", len(part)) + part for part in (kind.encode(), *parts))).digest()


def _open_directory(path: str) -> int:
    """A descriptor of the directory, so that nothing that happens to its path later matters (1)."""
    if not _POSIX:
        raise _Unsafe("this system does not say whose a directory is")
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


def _identity(descriptor: int) -> tuple[int, int] | None:
    """What a descriptor stands for; None if for nothing."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_private(found: os.stat_result, what: str) -> None:
    if found.st_uid != os.geteuid():
        raise _Unsafe(f"{what} belongs to user {found.st_uid}, not {os.geteuid()}")
    if found.st_mode & _PRIVATE:
        raise _Unsafe(f"others may use {what} (mode {stat.S_IMODE(found.st_mode):04o})")


def _read_key(directory: int) -> bytes:
    """The key; empty if there is none yet (2)."""
    try:
        descriptor = os.open(_KEY_NAME, _READ, dir_fd=directory)
    except FileNotFoundError:
        return b""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != _KEY_BYTES:
            raise _Unsafe("its key is not what a key is")
        _check_private(found, "its key")
        return os.read(descriptor, _KEY_BYTES)
    finally:
        os.close(descriptor)


def _make_key(directory: int) -> bytes:
    """Make the key, whole or not at all; of several processes that do so at once, one wins and all use that one."""
    temporary = _fill(directory, os.urandom(_KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, _KEY_NAME, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    finally:
        os.unlink(temporary, dir_fd=directory)
    return _read_key(directory)


def _open_value(directory: int, name: str) -> tuple[int, int]:
    """A descriptor of a regular file of sane size (3), and its value's length; never a link, and never waited for."""
    descriptor = os.open(name, _READ, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        size = found.st_size - _TAG_BYTES
        if not stat.S_ISREG(found.st_mode) or not 0 <= size <= MAX_VALUE:
            raise _Unsafe(f"{name!r} in it is no file of the expected size")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, size


def _read(directory: int, name: str) -> tuple[bytes, bytes]:
    """Tag and value."""
    descriptor, size = _open_value(directory, name)
    try:
        return os.read(descriptor, _TAG_BYTES), os.read(descriptor, size)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of it; the system may write less at once.

    Raises:
        OSError: it cannot be written.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _write(directory: int, name: str, *content: bytes) -> None:
    """Replace a file in one step. It need not survive a crash whole: what does not is not authentic."""
    temporary = _fill(directory, *content)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        return  # another process made room
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


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


def _entries(directory: int) -> list[tuple[int, int, str]]:
    """(time of writing, size, name) of each entry and each left-over of a writer that was killed."""
    found = []
    with os.scandir(directory) as listing:
        for entry in listing:
            if entry.name != _KEY_NAME:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(status.st_mode):
                        found.append((status.st_mtime_ns, status.st_size, entry.name))
    return found
