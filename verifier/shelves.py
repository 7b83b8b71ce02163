"""Many values in one file of a private cache: for what is small, and used together, such as the modules of a wheel.

A file for each would cost more to open than to use. A shelf is a sequence of records, added one after another:

    tag      HMAC-SHA256(key, shelf ‖ name ‖ sha256(value)), 32 bytes
    name     sha256 over what the value depends on
    length   of the value, 8 bytes, the least first
    value

where ``shelf`` is the name of the file. A record is authenticated by itself, when its value is asked for; of several of
one name the last counts. What is cut short, or makes no sense, ends the shelf there, and is replaced with the next
value that is stored. Writers add with one write each, so that several processes may share a shelf.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

from verifier.private_cache import PrivateCache
from verifier.private_directory import MAX_VALUE, value_name

_HEAD: Final = struct.Struct("<32s32sQ")


class Shelf:
    """One shelf. Safe between threads, processes and forks; never raises when it fails.

    Args:
        cache: where it lies.
        kind: of shelf.
        parts: all that its values have in common.
        most: bytes that it may have; one that would have more keeps the newer half of its values.
    """

    def __init__(self, cache: PrivateCache, kind: str, *parts: bytes, most: int = MAX_VALUE) -> None:
        self._cache = cache
        self._most = most
        self._name = value_name(kind, parts)
        self._extent = (0, 0)  # the end of the last whole record, and of the file
        self._records: dict[bytes, tuple[bytes, memoryview]] = {}
        self._look()

    def load(self, *parts: bytes) -> memoryview | None:
        """The value that was stored under exactly these parts; None if there is none that is authentic."""
        name = value_name("", parts)
        found = self._records.get(name)
        if found is None and self._cache.size_of(self._name) != self._extent[1]:
            self._look()  # somebody else has stored something since
            found = self._records.get(name)
        if found is None:
            return None
        tag, value = found
        return value if hmac.compare_digest(self._tag(name, value), tag) else None

    def store(self, value: bytes, *parts: bytes) -> None:
        """Keep a value."""
        name = value_name("", parts)
        tag = self._tag(name, value)
        record = _HEAD.pack(tag, name, len(value)) + value
        if self._extent[0] != self._extent[1]:
            self._look()  # perhaps another process was still writing
        end, size = self._extent
        if end == size and size + len(record) <= self._most:
            self._cache.append(self._name, record, anew=False)
            self._records[name] = tag, memoryview(value)
            self._extent = (size + len(record),) * 2
        else:  # it is full, or what follows its last whole record makes no sense
            fits = end + len(record) <= self._most
            self._cache.append(self._name, self._newest(end if fits else self._most // 2) + record, anew=True)
            self._look()

    def _newest(self, room: int) -> bytes:
        """The last records, as many as there is room for."""
        kept: list[bytes] = []
        for name, (tag, value) in reversed(self._records.items()):
            room -= _HEAD.size + len(value)
            if room < 0:
                break
            kept.append(_HEAD.pack(tag, name, len(value)) + value)
        return b"".join(reversed(kept))

    def _look(self) -> None:
        content = memoryview(self._cache.raw(self._name))
        self._records, end = records_of(content)
        self._extent = end, len(content)

    def _tag(self, name: bytes, value: bytes | memoryview) -> bytes:
        return self._cache.tag(self._name + name, hashlib.sha256(value).digest())


def records_of(content: memoryview) -> tuple[dict[bytes, tuple[bytes, memoryview]], int]:
    """Tag and value by name, none of them authenticated; and where the last whole record ends."""
    found: dict[bytes, tuple[bytes, memoryview]] = {}
    position = 0
    while position + _HEAD.size <= len(content):
        tag, name, length = _HEAD.unpack_from(content, position)
        start = position + _HEAD.size
        if length > len(content) - start:
            break
        position = start + length
        found[name] = (tag, content[start:position])
    return found, position
