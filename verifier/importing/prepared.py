"""Libraries that an administrator has laid out, run where they lie: files that the host itself cannot change.

Compiled code is copied into sealed memory because whoever may write to a file may change it after it was verified. Who
may write to a file of root, whose mode lets nobody else, is root. So a host that is not root, and cannot become root,
may have such a file mapped once it was verified. ``docs/adr/0048-prepared-libraries.md`` says what each condition keeps
out. A file has the sha256 of its content for a name; that it has that content is found out by hashing it, once for each
state that the system says it is in. Where a condition does not hold there is no such library, and a copy is made.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import stat
import sys
from pathlib import Path
from typing import Final

from verifier.private_cache import PrivateCache
from verifier.private_directory import change_of, is_settled
from verifier.shelves import Shelf

FILE_SYSTEMS: Final = frozenset(
    {"btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "xfs", "zfs"}
)
"""Those that the kernel keeps: it says whose a file is and when it was changed, and no process answers for it."""

MAX_MOUNTS: Final = 4 << 20
"""Bytes of the system's table of mounts that are read."""

MAX_KNOWN: Final = 1 << 20
"""Bytes that are kept of which files were found to be what their names say."""

_KIND: Final = "prepared"
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH  # an access list that lets others write shows in the group's bits
_UNFIT: Final = frozenset({"noexec", "idmapped"})  # the latter says that a file is root's which is another's below it
_NS_GET_OWNER_UID: Final = 0xB704
_READ: Final = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))

logger = logging.getLogger(__name__)


class Prepared:
    """The libraries that a host finds prepared. Safe between threads, processes and forks.

    Args:
        directory: where they lie; it need not be there.
        cache: where it is kept which files were found to be what their names say.
    """

    def __init__(self, directory: Path | str, cache: PrivateCache) -> None:
        self._place = os.path.abspath(directory)
        self._cache = cache
        self._directory: RootsDirectory | None = None
        self._known: Shelf | None = None
        self._was_asked = False

    def open(self, sha256: bytes) -> int | None:
        """A descriptor of the library with this content, which this process can read and cannot change.

        Args:
            sha256: of its content, 32 bytes.

        Returns:
            None if there is no such library, or it could be changed.
        """
        directory = self._usable()
        if directory is None:
            return None
        try:
            descriptor = directory.open(sha256.hex())
            try:
                self._check(descriptor, sha256)
            except BaseException:
                os.close(descriptor)
                raise
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("a prepared library is not used: %s", error)
            return None
        return descriptor

    def _usable(self) -> RootsDirectory | None:
        """The directory, if it is one that this process cannot change. That is asked once: root alone changes it."""
        if not self._was_asked:
            try:
                require_powerless()
                self._directory = RootsDirectory(self._place)
            except OSError as error:
                logger.warning("prepared libraries are not used: %s", error)
            self._was_asked = True
        return self._directory

    def _check(self, descriptor: int, sha256: bytes) -> None:
        """A file that cannot be changed has this content, as was found out before, or now; an OSError if not."""
        known = self._known = self._known or Shelf(self._cache, _KIND, most=MAX_KNOWN)
        state = change_of(descriptor)
        if known.load(sha256, state) is not None:
            return
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
            found = hashlib.file_digest(stream, "sha256").digest()
        if found != sha256:
            raise OSError(f"{sha256.hex()} is not the sha256 of its content")
        if is_settled(descriptor):
            known.store(b"", sha256, state)


class RootsDirectory:
    """A directory in which root alone decides what lies there, and what it is.

    Args:
        path: absolute.

    Attributes:
        path: the same without links, so that no link that is exchanged later matters.

    Raises:
        OSError: it is not there, or others have a say; the error's words say who.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        descriptor = os.open(self.path, _READ | os.O_DIRECTORY)
        try:
            kind, options = _mount_of(descriptor)
        finally:
            os.close(descriptor)
        if kind not in FILE_SYSTEMS:
            raise OSError(f"{self.path} lies in a file system {kind!a}")
        for option in _UNFIT & options:
            raise OSError(f"{self.path} lies in a file system that is mounted {option}")
        require_roots(self.path)

    def open(self, name: str) -> int:
        """Open a file that nobody but root can change, and that the system lets this process run.

        Raises:
            OSError: it cannot be opened, or not be run; or it could be changed, and the error's words say by whom.
        """
        descriptor = os.open(os.path.join(self.path, name), _READ)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(f"{name} is no regular file")
            _require_roots(found, name)
            if found.st_size:  # what an access module of the system forbids, its loader would be refused
                mmap.mmap(descriptor, 1, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def require_roots(path: str, *, may_be_shared: bool = False) -> None:
    """Return if root alone decides what lies at a path: nobody else can exchange it, or a directory above it.

    Args:
        path: absolute, without links.
        may_be_shared: whether it may be a directory in which others have files, and exchange none but these.

    Raises:
        OSError: it is not there, or others have a say; the error's words say who.
    """
    for place in (Path(path), *Path(path).parents):
        _require_roots(os.lstat(place), str(place), may_be_shared=may_be_shared)
        may_be_shared = True


def _require_roots(found: os.stat_result, name: str, *, may_be_shared: bool = False) -> None:
    is_shared = may_be_shared and found.st_mode & stat.S_ISVTX
    if found.st_uid != 0 or (found.st_mode & _WRITABLE and not is_shared):
        raise OSError(f"{name} is not root's alone: user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}")


def require_powerless() -> None:
    """Return if this process cannot act as root, nor can another process of its user in its place.

    Raises:
        OSError: it could, or the system does not say; the error's words say how.
    """
    if not hasattr(os, "getresuid"):
        raise OSError("this system does not say what a process may")
    users = os.getresuid()
    if 0 in users:
        raise OSError("this process is root, or can become root")
    with open("/proc/self/status", "rb") as stream:
        [permitted] = [line.split()[1] for line in stream.read().splitlines() if line.startswith(b"CapPrm:")]
    if permitted.strip(b"0"):
        raise OSError(f"this process has rights of root's: capabilities {permitted.decode()}")
    if _owner_of_user_namespace() in users:
        raise OSError("this process's user owns the user namespace that it runs in, and can become root there")


def _owner_of_user_namespace() -> int:
    """Who made the namespace that says who root is, and so has all rights in it (ioctl_ns(2), user_namespaces(7))."""
    import fcntl  # which other systems than Linux lack

    descriptor = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, _NS_GET_OWNER_UID, bytes(4)), sys.byteorder)
    finally:
        os.close(descriptor)


def _mount_of(descriptor: int) -> tuple[str, set[str]]:
    """Type of the file system through which a file was opened, and its mount's options (proc(5))."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as stream:
        numbers = [line.split()[1] for line in stream.read().splitlines() if line.startswith(b"mnt_id:")]
    with open("/proc/self/mountinfo", "rb") as stream:
        for line in stream.read(MAX_MOUNTS).splitlines():
            fields = line.split(b" ")
            if fields[:1] == numbers:
                return fields[fields.index(b"-") + 1].decode(), set(fields[5].decode().split(","))
    raise OSError("the system does not say where a file is mounted")
