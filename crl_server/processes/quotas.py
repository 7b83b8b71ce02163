"""How many writes somebody may send to all workers of a team together: one table of buckets in memory that they share.

A table of fixed size. An identity has eight places in it, by the sha256 of its name; where all of them are taken, the
one that wrote the longest ago is forgotten.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from datetime import UTC, datetime
from typing import Final

from crl_server.api.limits import Bucket, Rate, check_left
from crl_server.processes.board import locked

GROUPS: Final = 2_048
PLACES: Final = 8
"""How many identities a group holds; together, more than are remembered by a process of its own."""
_PLACE: Final = struct.Struct("<16sdd")
_GROUP: Final = PLACES * _PLACE.size
_SIZE: Final = GROUPS * _GROUP


class SharedBuckets:
    """The buckets of all identities, shared with whoever has the same descriptor. For one thread of each process.

    Args:
        descriptor: a sheet of memory, which is made as large as it has to be.
        rate: what each identity may do.
    """

    def __init__(self, descriptor: int, rate: Rate) -> None:
        self._descriptor, self._rate = descriptor, rate
        os.ftruncate(descriptor, _SIZE)  # of zeros; no change where another worker was first
        self._memory = mmap.mmap(descriptor, _SIZE)

    def take(self, actor: str, now: datetime) -> None:
        """Take one token out of an identity's bucket.

        Raises:
            TooMany: ``request.rate``.
        """
        key = hashlib.sha256(actor.encode()).digest()[:16]
        with locked(self._descriptor):
            offset, known = self._find(key, now)
            bucket, left = known.drawn(self._rate, now)
            _PLACE.pack_into(self._memory, offset, key, bucket.left, bucket.at.timestamp())
        check_left(actor, self._rate, left)

    def _find(self, key: bytes, now: datetime) -> tuple[int, Bucket]:
        """Where an identity's bucket is or may be put, and the bucket: a full one for whoever has none."""
        first = int.from_bytes(key[:4], "big") % GROUPS * _GROUP
        oldest, since = first, float("inf")
        for offset in range(first, first + _GROUP, _PLACE.size):
            there, left, at = _PLACE.unpack_from(self._memory, offset)
            if there == key:
                return offset, Bucket(left, datetime.fromtimestamp(at, UTC))
            if at < since:
                oldest, since = offset, at
        return oldest, Bucket(float(self._rate.burst), now)
