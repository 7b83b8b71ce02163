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
import os
import stat
from pathlib import Path
from typing import Final

from verifier.private_cache import PrivateCache
from verifier.private_directory import change_of, is_settled

FILE_SYSTEMS: Final = frozenset(
    {"btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "xfs", "zfs"}
)
"""Those that the kernel keeps: it says whose a file is and when it was changed, and no process answers for it."""

MAX_MOUNTS: Final = 4 << 20
"""Bytes of the system's table of mounts that are read."""

_KIND: Final = "prepared"
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH  # an access list that lets others write shows in the group's bits
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC if os.name == "posix" else 0

logger = logging.getLogger(__name__)


class Prepared:
    """The libraries in one directory. Safe between threads, processes and forks.

    Args:
        directory: where they lie; it need not be there.
        cache: where it is kept which files were found to be what their names say.
    """

    def __init__(self, directory: Path | str, cache: PrivateCache) -> None:
        self._directory = os.path.abspath(directory)
        self._cache = cache
        self._told = False

    def open(self, sha256: bytes) -> int | None:
        """A descriptor of the library with this content, which this process can read and cannot change.

        Args:
            sha256: of its content, 32 bytes.

        Returns:
            None if there is no such library, or it could be changed.
        """
        if could_act_as_root():
            if not self._told:
                logger.warning("prepared libraries are not used: this process could change them")
            self._told = True
            return None
        try:
            descriptor = open_unchangeable(os.path.join(self._directory, sha256.hex()))
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("a prepared library is not used: %s", error)
            return None
        if not self._has(descriptor, sha256):
            os.close(descriptor)
            return None
        return descriptor

    def _has(self, descriptor: int, sha256: bytes) -> bool:
        """Whether a file that cannot be changed has this content, as was found out before, or now."""
        state = change_of(descriptor)
        if self._cache.load(_KIND, sha256, state) is not None:
            return True
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
            found = hashlib.file_digest(stream, "sha256").digest()
        if found != sha256:
            logger.warning("a prepared library is not used: %s is not the sha256 of its content", sha256.hex())
            return False
        if is_settled(descriptor):
            self._cache.store(b"", _KIND, sha256, state)
        return True


def could_act_as_root() -> bool:
    """Whether this process is root, could become root again, or has any of root's rights (capabilities(7))."""
    if not hasattr(os, "getresuid"):
        return True  # nothing is known of such a system
    if 0 in os.getresuid():
        return True
    try:
        with open("/proc/self/status", "rb") as stream:
            permitted = [line for line in stream.read().splitlines() if line.startswith(b"CapPrm:")]
    except OSError:
        return True
    return [line.split()[1].strip(b"0") for line in permitted] != [b""]


def open_unchangeable(path: str) -> int:
    """Open a file that nobody but root can change, to read and to run it.

    Raises:
        OSError: it cannot be opened; or it could be changed, and the error's words say by what.
    """
    descriptor = os.open(path, _READ)
    try:
        why_not = _changeable(descriptor)
        if why_not is not None:
            raise OSError(why_not)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _changeable(descriptor: int) -> str | None:
    """Why somebody but root could change a file's content, or why it cannot be run; None if neither is so."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if found.st_uid != 0:
        return f"it belongs to user {found.st_uid}, not to root"
    if found.st_mode & _WRITABLE:
        return f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o})"
    kind, options = _mount_of(descriptor)
    if kind not in FILE_SYSTEMS:
        return f"it lies in a file system {kind!a}"
    if "noexec" in options:
        return "its file system is mounted noexec"
    return None


def _mount_of(descriptor: int) -> tuple[str, list[str]]:
    """Type of the file system that a file lies in, and its mount's options (proc(5))."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as stream:
        numbers = [line.split()[1] for line in stream.read().splitlines() if line.startswith(b"mnt_id:")]
    with open("/proc/self/mountinfo", "rb") as stream:
        for line in stream.read(MAX_MOUNTS).splitlines():
            fields = line.split(b" ")
            if fields[:1] == numbers:
                return fields[fields.index(b"-") + 1].decode(), fields[5].decode().split(",")
    raise OSError("the system does not say where the file is mounted")
