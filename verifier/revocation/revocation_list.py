"""A revocation list as a value: what is listed, and how fresh that is.

:mod:`verifier.revocation.revocations` makes it, once every rule has passed.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from verifier.errors import Refused
from verifier.formats.revocations import PREFIX, Checkpoint, Head, Rules, SegmentRef, prefix_of
from verifier.formats.text import Digest, Hex
from verifier.value import Value

Buffer = bytes | mmap.mmap
"""A file's content: in memory, or mapped from where it lies."""
WINDOW = 24
"""How many entries to either side of where an entry should stand are looked through at once."""

_leading = struct.Struct(">Q").unpack_from


class SetFile:
    """A base: sorted prefixes in one buffer, searched where they lie.

    Prefixes of digests are spread evenly, so that the value of one tells nearly where it stands: two steps of
    interpolation end within a few entries of it, whatever the size. Who makes a list may choose other entries: there it
    is bisected, so that no search reads more than a window and as many entries as the size has binary digits.
    """

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self._size = len(data) // PREFIX

    @property
    def sha256(self) -> Hex:
        """The root: the sha256 of the file."""
        return Hex(hashlib.sha256(self.data).hexdigest())

    def rest(self) -> None:
        """Let go of the memory that reading all of a mapped file took; what is asked for comes back page by page."""
        if isinstance(self.data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.data.madvise(mmap.MADV_DONTNEED)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, prefix: object) -> bool:
        if not isinstance(prefix, bytes) or len(prefix) != PREFIX:
            return False
        data, size = self.data, self._size
        value = _leading(prefix)[0]
        guess = value * size >> 64
        if size:
            guess += (value - _leading(data, guess * PREFIX)[0]) * size >> 64
        if 0 <= guess < size:
            guess += (value - _leading(data, guess * PREFIX)[0]) * size >> 64
            first = max(guess - WINDOW, 0)
            window = data[first * PREFIX : (first + 2 * WINDOW) * PREFIX]
            if window[:PREFIX] <= prefix <= window[-PREFIX:]:  # it stands in here, or nowhere
                found = window.find(prefix)
                if found < 0 or found % PREFIX == 0:
                    return found >= 0
        return self.at(self.place(prefix)) == prefix

    def at(self, place: int) -> bytes:
        """The entry at ``place``."""
        return self.data[place * PREFIX : (place + 1) * PREFIX]

    def place(self, prefix: bytes) -> int:
        """Where ``prefix`` stands, or would stand."""
        data, low, high = self.data, 0, self._size
        while low < high:
            middle = (low + high) >> 1
            if data[middle * PREFIX : middle * PREFIX + PREFIX] < prefix:
                low = middle + 1
            else:
                high = middle
        return low

    def changed(self, added: Iterable[bytes], removed: Iterable[bytes] = ()) -> SetFile:
        """The set with some entries more, and then some fewer; what lies between two changes is copied as a piece."""
        gone = frozenset(removed)
        wanted = dict.fromkeys(gone, False) | dict.fromkeys(frozenset(added) - gone, True)
        pieces, done = [], 0
        for prefix in sorted(wanted):
            place = self.place(prefix)
            pieces.append(self.data[done * PREFIX : place * PREFIX])
            pieces.append(prefix if wanted[prefix] else b"")
            done = place + (self.at(place) == prefix)
        return SetFile(b"".join((*pieces, self.data[done * PREFIX :])))

    def lost(self, later: SetFile, removed: Iterable[bytes]) -> bytes | None:
        """An entry that is neither in ``later`` nor among ``removed``, or None; a part of both is held at a time."""
        gone = frozenset(removed)
        for byte in range(256):
            missing = self._begun_with(byte) - later._begun_with(byte) - gone
            if missing:
                return min(missing)
        return None

    def _begun_with(self, byte: int) -> frozenset[bytes]:
        first = self.place(bytes([byte]))
        last = len(self) if byte == 255 else self.place(bytes([byte + 1]))
        return frozenset(self.data[at * PREFIX : (at + 1) * PREFIX] for at in range(first, last))


class Segment(Value, frozen=True):
    """A part of the tail: its reference in the head, and its prefixes."""

    ref: SegmentRef
    prefixes: frozenset[bytes]


class Freshness(NamedTuple):
    """How old a list is: whether it has not expired, and its age."""

    fresh: bool
    age: timedelta


class RevocationList(Value, frozen=True):
    """A revocation list that has passed every rule.

    Attributes:
        head: the signed head.
        envelope: the head's signed bytes, as they are stored.
        checkpoint: the checkpoint that names the base.
        base: the entries through the checkpoint.
        tail: the segments after it.
        rules: the standing rules in force.
        base_rules: those of them that the checkpoint names.
        added: the prefixes of all segments of the tail together.
    """

    unshown = frozenset({"added"})

    head: Head
    envelope: bytes
    checkpoint: Checkpoint
    base: SetFile
    tail: tuple[Segment, ...]
    rules: Rules
    base_rules: Rules
    added: frozenset[bytes]

    @property
    def count(self) -> int:
        """How many entries the list has, at most (an entry may stand in base and tail)."""
        return len(self.base) + len(self.added)

    def lists(self, digest: Digest | Hex) -> bool:
        """Whether a sha256 digest is on the list."""
        return self.holds(prefix_of(digest))

    def holds(self, prefix: bytes) -> bool:
        """Whether an entry stands on the list."""
        return prefix in self.added or prefix in self.base

    def freshness(self, now: datetime, grace: timedelta) -> Freshness:
        """Demand that the list is fresh, or expired by less than ``grace``.

        Raises:
            Refused: ``list.stale``.
        """
        over = now - self.head.expires.instant
        if over >= grace and over >= timedelta(0):
            raise Refused(
                "list.stale",
                "the revocation list is too old",
                found=f"expired at {self.head.expires}, {_words(over)} ago",
                expected=f"at most {_words(grace)} past its expiry",
            )
        return Freshness(over < timedelta(0), now - self.head.issued.instant)


def _words(span: timedelta) -> str:
    hours, rest = divmod(int(span.total_seconds()), 3600)
    return f"{hours} h {rest // 60} min"
