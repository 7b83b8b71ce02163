"""Files in memory that nobody can change any more: what the system's loader is given instead of a file on disk.

Linux: memfd_create(2) and its seals. A descriptor is never closed, and its number never used for a second file, as long
as the process lives: the system's loader knows a library by the path that it was opened by, so that a number used twice
would give back the library before. A host that becomes a daemon closes descriptors all the same; so before each use it
is made sure that a descriptor still stands for its file, and a new one is made under an unused number if it does not.

A file that another process made and sealed is as good as one of our own, if it is that file: then it need not be made.
``docs/adr/0043-only-what-is-mapped-is-copied.md`` says how that is known. Nor where a file of root holds the content
that this process cannot change (:mod:`verifier.importing.prepared`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Final, Literal

from verifier.errors import Refused
from verifier.private_directory import change_of
from verifier.value import Value

NAME_SHOWN: Final = 200  # characters of a name; the kernel allows 249 bytes
_NAME: Final = "loadlock "
_SHOWN_AS: Final = f"/memfd:{_NAME}"
_NOT_TO_BE_RUN: Final = 0x0008  # MFD_NOEXEC_SEAL (Linux 6.3): no program, which vm.memfd_noexec=2 insists on


class Held(Value, frozen=True):
    """A sealed file, as another process may find it for as long as this one has it open.

    Attributes:
        process: the number of the process that has it open.
        descriptor: under which number.
        state: which file it is (:func:`verifier.private_directory.change_of`). No other can have that state: the
            system alone sets the time of change, and a sealed file has none after it was sealed.
    """

    process: int
    descriptor: int
    state: bytes


class _File(Value, frozen=True):
    """A descriptor and what it stands for (device, inode), its state since which nothing can change it, and where it is
    from: this process, another one, or an administrator.
    """

    descriptor: int
    identity: tuple[int, int]
    state: bytes
    origin: Literal["made", "adopted", "prepared"]


def sealed_path(
    key: tuple[str, str],
    fill: Callable[[int], None],
    held: Held | None = None,
    prepared: Callable[[], int | None] | None = None,
) -> str:
    """A path by which this process can open a file that nothing can change.

    Args:
        key: what its content is known by: the wheel's digest and the path in the wheel.
        fill: writes the content to the descriptor it is given. It is asked once, unless the file was lost.
        held: where another process had the same file, as is known for sure; if it has it still, it is used.
        prepared: opens a file of this content that nobody can change, if there is one; it comes before all others.

    Raises:
        Refused: ``wheel.unsupported`` if this system has no such files, or will not give another.
    """
    if sys.platform != "linux":
        raise Refused("wheel.unsupported", "compiled code can be loaded on Linux only", found=sys.platform)
    with _LOCK:
        known = _FILES.get(key)
        if known is None or _identity(known.descriptor) != known.identity:
            try:
                known = _prepared(key, prepared) or _adopt(held) or _make(f"{_NAME}{key[1]}", fill)
                _FILES[key] = known
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


def holding(key: tuple[str, str]) -> tuple[Held, bool] | None:
    """The sealed file that this process has under a key, for others, and whether it made it itself."""
    known = _FILES.get(key)
    if known is None or known.origin == "prepared" or _identity(known.descriptor) != known.identity:
        return None
    return Held(os.getpid(), known.descriptor, known.state), known.origin == "made"


def _prepared(key: tuple[str, str], opened: Callable[[], int | None] | None) -> _File | None:
    """The file that was prepared; None if there is none, or it is in use as that of another wheel.

    The system's loader knows a file again, and would give both wheels one library with one state.
    """
    descriptor = None if opened is None else opened()
    if descriptor is None:
        return None
    identity = _identity(descriptor)
    if any(other != key and file.identity == identity for other, file in _FILES.items()):
        os.close(descriptor)
        return None
    return _keep(descriptor, "prepared")


def _adopt(held: Held | None) -> _File | None:
    """The sealed file of another process; None if it is not there any more, or another one is."""
    if held is None:
        return None
    import fcntl

    path = f"/proc/{held.process}/fd/{held.descriptor}"
    try:
        if not os.readlink(path).startswith(_SHOWN_AS):  # to open what else may have that number now could do something
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        is_it = (
            change_of(descriptor) == held.state and fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _seals() == _seals()
        )
    except OSError:
        is_it = False  # nothing that could be sealed
    if not is_it:
        os.close(descriptor)
        return None
    return _keep(descriptor, "adopted")


def _make(name: str, fill: Callable[[int], None]) -> _File:
    """A new sealed file."""
    import fcntl

    descriptor = _create(name[:NAME_SHOWN])
    try:
        fill(descriptor)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _seals())
    except BaseException:
        os.close(descriptor)
        raise
    return _keep(descriptor, "made")


def _seals() -> int:
    import fcntl  # which other systems than Linux lack

    return fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def _keep(descriptor: int, origin: Literal["made", "adopted", "prepared"]) -> _File:
    """Keep a file open for good, under a number that no file of ours had before."""
    import fcntl

    try:
        if descriptor in _USED:
            fresh = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(_USED) + 1)
            os.close(descriptor)
            descriptor = fresh
        identity = _identity(descriptor)
        if identity is None:
            raise OSError("a descriptor just made is gone")
        kept = _File(descriptor, identity, change_of(descriptor), origin)
    except BaseException:
        os.close(descriptor)
        raise
    _USED.add(descriptor)
    return kept


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
