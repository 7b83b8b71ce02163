"""What the workers of one server tell each other: a sheet of memory for each, which it alone writes and all read.

One more is common to all of them.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

MAX_SHEET: Final = 1024 * 1024
"""How many bytes a worker may tell."""
_LENGTH: Final = struct.Struct("<I")


class Board:
    """The sheets of a team, as one of its workers sees them.

    Args:
        descriptors: the sheets, open; the workers' numbers begin with 1.
        own: the number of this worker.

    Attributes:
        common: a sheet that all of them write; those before it are the workers' own.
    """

    def __init__(self, descriptors: Sequence[int], own: int) -> None:
        self.own = own
        *workers, self.common = descriptors
        self._sheets = dict(enumerate(workers, 1))
        self._reading = threading.Lock()  # a lock of the process is let go for all of its threads at once

    def write(self, data: bytes) -> None:
        """Tell something, in place of what was told before; what is too long is left out."""
        sheet = self._sheets[self.own]
        if len(data) <= MAX_SHEET:
            with locked(sheet):
                os.pwrite(sheet, _LENGTH.pack(len(data)) + data, 0)

    def others(self) -> dict[int, bytes]:
        """What the other workers told last; those that have not told anything yet are left out."""
        found: dict[int, bytes] = {}
        for number, sheet in self._sheets.items():
            if number == self.own:
                continue
            with self._reading, locked(sheet, fcntl.LOCK_SH):
                length = os.pread(sheet, _LENGTH.size, 0)
                if length:
                    found[number] = os.pread(sheet, _LENGTH.unpack(length)[0], _LENGTH.size)
        return found


@contextmanager
def sheets(workers: int) -> Iterator[list[int]]:
    """Empty sheets, one for each worker and one for all, for whoever inherits their descriptors.

    They have no name, and are gone with their last reader.
    """
    with ExitStack() as opened:
        yield [opened.enter_context(sheet(f"loadlock-worker-{number}")) for number in range(1, workers + 2)]


@contextmanager
def sheet(name: str) -> Iterator[int]:
    """One empty sheet, for whoever inherits its descriptor."""
    descriptor = _opened(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(name: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextmanager
def locked(descriptor: int, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock of this process: the descriptors are shared, and locks of the other kind would be as well."""
    fcntl.lockf(descriptor, how)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
