"""Compiled code of verified modules, kept between processes; every entry is authenticated before it is read.

``docs/adr/0008-code-cache.md`` says why. One directory holds a random key and, for each compiled module, one entry:

    name   sha256 over the source's digest, the interpreter's bytecode version, file name, optimisation and cache tag
    value  HMAC-SHA256(key, name ‖ code) ‖ code, where code is what ``marshal`` makes of a module's code

The order of work: (1) the directory is a private one of ours, (2) so is the key, (3) an entry is of sane size, (4) its
HMAC holds for its name, (5) only then does ``marshal``, which must never see foreign bytes, read it. Where (1) or (2)
fails, nothing is read or written for the life of the process, and the log says so once; where a later one fails, the
module is compiled from its verified source and the entry is replaced. The cache can so be slow, but not wrong. It
protects against other users of the machine; whoever can read the key can also change the host itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib.util
import logging
import marshal
import os
import stat
import struct
import sys
import threading
from pathlib import Path
from types import CodeType
from typing import Final

MAX_ENTRY: Final = 16 << 20
"""Bytes of one entry; larger code is compiled each time."""

MAX_TOTAL: Final = 256 << 20
"""Bytes of all entries; past it the oldest are removed until a quarter is free."""

_KEY_NAME: Final = "key"
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 32
_PRIVATE: Final = 0o077  # permission bits that a private file or directory has none of
_POSIX: Final = os.name == "posix"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC if _POSIX else 0
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC if _POSIX else 0

logger = logging.getLogger(__name__)


class CodeCache:
    """A directory of authenticated code. Safe between threads, processes and forks; never raises when it fails.

    Args:
        directory: made with mode 0700 if it is missing; used only if it is a directory of this user, not a link, that
            nobody else may enter.
        max_total: bytes of all entries.
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
            logger.warning("the code cache is not used, modules are compiled each time: %s", error)
            if self._directory >= 0:
                os.close(self._directory)

    @property
    def usable(self) -> bool:
        """Whether anything is read; False once the directory or the key were found wrong."""
        return bool(self._key)

    def load(self, source: bytes, file_name: str) -> CodeType | None:
        """The code that was stored for exactly this source and interpreter; None if there is none that is authentic.

        Args:
            source: the module's verified source.
            file_name: what its code objects say of where they are from.
        """
        if not self._is_open():
            return None
        name = _name(source, file_name)
        try:
            entry = _read(self._directory, name.hex(), MAX_ENTRY)
        except (OSError, _Unsafe):
            return None  # absent, or nothing that this class wrote: storing replaces it
        code = memoryview(entry)[_TAG_BYTES:]
        if not hmac.compare_digest(self._tag(name, code), entry[:_TAG_BYTES]):
            return None
        try:
            loaded = marshal.loads(code)  # noqa: S302 - authenticated in the line above
        except (EOFError, TypeError, ValueError):
            return None  # authentic, but of an interpreter that differs in more than its version says
        return loaded if isinstance(loaded, CodeType) else None

    def store(self, source: bytes, file_name: str, code: CodeType) -> None:
        """Keep the code of a source, in place of what may be there under its name.

        Args:
            source: the module's verified source.
            file_name: as for :meth:`load`.
            code: what it was compiled to.
        """
        if not self._stores or not self._is_open():
            return
        name, content = _name(source, file_name), marshal.dumps(code)
        if len(content) + _TAG_BYTES > MAX_ENTRY:
            return
        try:
            _write(self._directory, name.hex(), self._tag(name, content) + content)
            self._make_room(len(content) + _TAG_BYTES)
        except OSError as error:
            self._stores = False
            logger.warning("nothing more is stored in the code cache: %s", error)

    def _is_open(self) -> bool:
        """Whether the descriptor is still the directory's: a host that becomes a daemon closes all it can count to."""
        if self._key and _identity(self._directory) != self._identity:
            self._key = b""
            logger.warning("the code cache is no longer used: its directory was closed from outside")
        return bool(self._key)

    def _tag(self, name: bytes, code: bytes | memoryview) -> bytes:
        return hmac.digest(self._key, b"".join((name, code)), "sha256")

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


def _name(source: bytes, file_name: str) -> bytes:
    """What an entry is looked up by: everything that the code depends on, each part with its length before it."""
    parts = (
        hashlib.sha256(source).digest(),
        importlib.util.MAGIC_NUMBER,
        file_name.encode("utf-8", "surrogatepass"),
        str(sys.flags.optimize).encode(),
        (sys.implementation.cache_tag or "").encode(),
    )
    return hashlib.sha256(b"".join(struct.pack("<I", len(part)) + part for part in parts)).digest()


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
        return _read(directory, _KEY_NAME, _KEY_BYTES, least=_KEY_BYTES, private=True)
    except FileNotFoundError:
        return b""


def _make_key(directory: int) -> bytes:
    """Make the key, whole or not at all; of several processes that do so at once, one wins and all use that one."""
    temporary = _fill(directory, os.urandom(_KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, _KEY_NAME, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    finally:
        os.unlink(temporary, dir_fd=directory)
    return _read(directory, _KEY_NAME, _KEY_BYTES, least=_KEY_BYTES, private=True)


def _read(directory: int, name: str, limit: int, *, least: int = _TAG_BYTES + 1, private: bool = False) -> bytes:
    """A regular file of the directory, of sane size (3); never a link, and never waited for."""
    descriptor = os.open(name, _READ, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not least <= found.st_size <= limit:
            raise _Unsafe(f"{name!r} in it is no file of the expected size")
        if private:
            _check_private(found, f"{name!r} in it")
        content = os.read(descriptor, found.st_size)
    finally:
        os.close(descriptor)
    if len(content) != found.st_size:
        raise _Unsafe(f"{name!r} in it was cut while it was read")
    return content


def _write(directory: int, name: str, content: bytes) -> None:
    """Replace a file in one step. It need not survive a crash whole: what does not is not authentic."""
    temporary = _fill(directory, content)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        return  # another process made room
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


def _fill(directory: int, content: bytes) -> str:
    """Make a file that was not there and is for us alone; its name."""
    name = f".{os.urandom(16).hex()}"
    with os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=directory), "wb") as stream:
        try:
            stream.write(content)
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
