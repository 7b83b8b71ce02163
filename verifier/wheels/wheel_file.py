"""A wheel as it lies on disk: opened once, and known again without being hashed if it was left alone.

A file that was read and hashed before, and has been left alone since, has the sha256 that it had. Whether it was left
alone, its identity says: device, inode, size, and the times of its last writing and last change, of which nobody but
the system sets the latter. What such a wheel is taken for is judged as always, by that sha256: list, rules, policy. And
what is used of it is what that sha256 stands for, also where somebody has managed to exchange the file under the same
identity: of a known wheel only the facts that the strict reader found are taken, which the private cache vouches for,
and every file that is unpacked is held against the sha256 that is among them. So the worst of a false identity is that
a wheel that was accepted is used where another lies; the other never is.

What does not fit in any way is read into memory and hashed, in full. ``docs/adr/0035-known-files.md`` says why this is
sound.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from verifier.errors import Refused, UsageError
from verifier.files import anchored
from verifier.private_directory import is_settled, state_of
from verifier.wheels.archive import DEFAULT_LIMITS
from verifier.wheels.snapshot import Snapshot, slices
from verifier.wheels.wheel import read_wheel
from verifier.wheels.wheel_cache import SeenFiles

HELD_OPEN: Final = 1 << 20
"""Bytes from which on a known wheel is held open, and not read into memory whole, however many files are open."""
_SHARE: Final = 4

_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class WheelFile:
    """One wheel. Its path is not asked again: what is not read at once is read from the file that was opened.

    Args:
        path: where it lies.
        seen: which files were seen before, and what was found in them; nothing is kept if None.

    Attributes:
        name: the file's name, without directories.
        size: in bytes.
        digest: "sha256:<64 hex>" of its bytes; or of the wheel that a known file has always been.

    Raises:
        UsageError: ``wheel.unreadable``: there is nothing that could be checked.
        Refused: ``wheel.too-large``.
    """

    def __init__(self, path: Path, seen: SeenFiles | None = None) -> None:
        self.name = path.name
        self._seen = seen
        self._data = self._state = b""
        file = _opened(path)
        self.size = file.found.st_size
        if self.size > DEFAULT_LIMITS.archive:
            expected = f"at most {DEFAULT_LIMITS.archive} bytes"
            raise Refused("wheel.too-large", "wheel is too large", found=repr(path.name), expected=expected)
        state = state_of(file.found)
        if not (self.size > HELD_OPEN or _are_few(file.descriptor)):
            self._data = file.read(0, self.size)
        self._known = self._recall(file, state)
        if self._known is not None:
            self.digest = self._known.digest
            return
        self._data = self._data or file.read(0, self.size)
        self.size = len(self._data)
        self.digest = f"sha256:{hashlib.sha256(self._data).hexdigest()}"
        if state_of(os.fstat(file.descriptor)) == state and is_settled(file.descriptor):
            self._state = state

    def snapshot(self) -> Snapshot:
        """What the strict reader finds in it.

        Raises:
            Refused: with one of the ``wheel.*`` codes.
        """
        if self._known is None:
            cache = None if self._seen is None else self._seen.cache
            self._known = read_wheel(self._data, self.name, cache=cache, digest=self.digest)
            if self._seen is not None and self._state:
                self._seen.remember(self._state, self.digest, self.name, DEFAULT_LIMITS)
        return self._known

    def _recall(self, file: _File, state: bytes) -> Snapshot | None:
        """What was found in the wheel that this file was, in this state; None if it was not seen, or not accepted."""
        if self._seen is None:
            return None
        read = slices(self._data) if self._data else file.read
        return self._seen.recall(read, state, self.name, DEFAULT_LIMITS)


def _are_few(descriptor: int) -> bool:
    """Whether this process has opened so few files that it may keep one open, instead of reading what nobody may ask
    for: a quarter of what it may open.
    """
    return hasattr(os, "sysconf") and descriptor < os.sysconf("SC_OPEN_MAX") // _SHARE


class _File:
    """A regular file that is held open, and closed when nobody refers to it any more.

    Attributes:
        descriptor: of the file, unless somebody else has closed it.
        found: what the system said of it when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = anchored(path)
        self.descriptor = os.open(path, _READ)
        self.found = os.fstat(self.descriptor)
        if not stat.S_ISREG(self.found.st_mode):
            raise OSError("not a regular file")

    def __del__(self) -> None:
        if self._is_held():
            os.close(self.descriptor)

    def read(self, start: int, length: int) -> bytes:
        """So many bytes of it, or fewer where there are no more. What its reader gets of another file it refuses."""
        data = b""
        with contextlib.suppress(OSError):
            if not self._is_held():  # by a host that became a daemon, which closes all descriptors it can count to
                return _File(self._path).read(start, length)
            while len(data) < length and (more := os.pread(self.descriptor, length - len(data), start + len(data))):
                data = data + more if data else more
        return data

    def _is_held(self) -> bool:
        try:
            found, held = os.fstat(self.descriptor), self.found
        except (AttributeError, OSError):
            return False
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _opened(path: Path) -> _File:
    try:
        return _File(path)
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError("wheel.unreadable", f"cannot read wheel {path.name!r}", found=reason) from error
