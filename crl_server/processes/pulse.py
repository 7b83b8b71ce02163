"""Signs of life: each worker counts on a page of memory while its loop goes round, and the parent looks at it.

A worker that hangs has not died: it keeps its connections, its streams and perhaps a lock, and answers nothing. What
the parent counts is the time in which it has looked itself: where the whole service stood still (a machine asleep, a
container paused) nobody was silent.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

SILENCE: Final = 30.0
"""After how many seconds without a sign of life a worker is ended and another one started."""
STARTING: Final = 300.0
"""How many seconds a worker may take until its first one: it publishes what the one before has left undone."""
LOOKED: Final = 1.0
"""How many seconds at most pass, as the parent counts, between two of its looks."""
_COUNT: Final = struct.Struct("=Q")
_PAGE: Final = mmap.PAGESIZE


class Pulses:
    """The counts of a team's workers, as the parent or one of them sees them.

    Args:
        descriptor: a sheet of memory, which is made as large as it has to be.
    """

    def __init__(self, descriptor: int) -> None:
        os.ftruncate(descriptor, _PAGE)
        self._memory = mmap.mmap(descriptor, _PAGE)

    def beat(self, number: int) -> None:
        """Give a sign of life, as the worker of that number."""
        _COUNT.pack_into(self._memory, number * _COUNT.size, self.count(number) + 1)

    def count(self, number: int) -> int:
        """How many signs the workers of that number have given."""
        found: int = _COUNT.unpack_from(self._memory, number * _COUNT.size)[0]
        return found


class Watch:
    """How long one worker has been silent.

    Args:
        count: how many signs its predecessors have given.
        now: the moment, in seconds of a clock that only goes forward.
    """

    def __init__(self, count: int, now: float) -> None:
        self._first = self._count = count
        self._looked, self._silent = now, 0.0

    def is_over(self, count: int, now: float) -> bool:
        """Whether it has been silent for too long; arguments as above."""
        passed, self._looked = min(now - self._looked, LOOKED), now
        self._silent = 0.0 if count != self._count else self._silent + passed
        self._count = count
        return self._silent >= (STARTING if count == self._first else SILENCE)
