"""Files in memory that nobody can change any more: what the system's loader is given instead of a file on disk.

Linux: memfd_create(2) and its seals. A descriptor is never closed, and its number never used for a second file, as long
as the process lives: the system's loader knows a library by the path that it was opened by, so that a number used twice
would give back the library before. A host that becomes a daemon closes descriptors all the same; so before each use it
is made sure that a descriptor still stands for its file, and a new one is made under an unused number if it does not.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from verifier.errors import Refused

NAME_SHOWN: Final = 200  # characters of a name; the kernel allows 249 bytes
_NOT_TO_BE_RUN: Final = 0x0008  # MFD_NOEXEC_SEAL (Linux 6.3): no program, which vm.memfd_noexec=2 insists on


class _File(NamedTuple):
    """A descriptor and what it stands for (device, inode)."""

    descriptor: int
    identity: tuple[int, int]


def sealed_path(key: tuple[str, str], fill: Callable[[int], None]) -> str:
    """A path by which this process can open a file that nothing can change.

    Args:
        key: what its content is known by: the wheel's digest and the path in the wheel.
        fill: writes the content to the descriptor it is given. It is asked once, unless the file was lost.

    Raises:
        Refused: ``wheel.unsupported`` if this system has no such files, or will not give another.
    """
    if sys.platform != "linux":
        raise Refused("wheel.unsupported", "compiled code can be loaded on Linux only", found=sys.platform)
    with _LOCK:
        known = _FILES.get(key)
        if known is None or _identity(known.descriptor) != known.identity:
            try:
                known = _FILES[key] = _make(f"loadlock {key[1]}", fill)
            except OSError as error:
                raise Refused(
                    "wheel.unsupported",
                    "the system gives no sealed memory, from which compiled code is loaded",
                    found=error.strerror or str(error),
                    todo="Raise the limit of open files, allow memfd_create, or use a pure-Python wheel.",
                ) from error
    path = f"/proc/self/fd/{known.descriptor}"
    try:
        found = os.stat(path)
    except OSError as error:
        raise Refused("wheel.unsupported", "compiled code is loaded through /proc, which is not there") from error
    if (found.st_dev, found.st_ino) != known.identity:
        raise Refused("wheel.unsupported", "compiled code is loaded through /proc, which shows other files")
    return path


def _make(name: str, fill: Callable[[int], None]) -> _File:
    """A sealed file under a number that no sealed file had before."""
    import fcntl

    descriptor = _create(name[:NAME_SHOWN])
    try:
        fill(descriptor)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        if descriptor in _USED:
            fresh = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(_USED) + 1)
            os.close(descriptor)
            descriptor = fresh
        identity = _identity(descriptor)
        if identity is None:
            raise OSError("a descriptor just made is gone")
    except BaseException:
        os.close(descriptor)
        raise
    _USED.add(descriptor)
    return _File(descriptor, identity)


def _create(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _NOT_TO_BE_RUN)
    except OSError:
        return os.memfd_create(name, flags)  # a kernel before 6.3 does not know the flag


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _after_fork() -> None:
    """A lock that another thread held when the process forked would never be freed in the child."""
    global _LOCK  # noqa: PLW0603 - replaced for the child, where no other thread exists yet
    _LOCK = threading.Lock()


# One for the process, like the descriptors and the libraries that they are about.
_FILES: dict[tuple[str, str], _File] = {}
_USED: set[int] = set()
_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
