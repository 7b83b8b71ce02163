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
from verifier.private_directory import value_name

_HEAD: Final = struct.Struct("<32s32sQ")


class Shelf:
    """One shelf, as it is when it is made. Safe between threads, processes and forks; never raises when it fails.

    Args:
        cache: where it lies.
        kind: of shelf.
        parts: all that its values have in common.
    """

    def __init__(self, cache: PrivateCache, kind: str, *parts: bytes) -> None:
        self._cache = cache
        self._name = value_name(kind, parts)
        self._content = memoryview(cache.raw(self._name))
        self._records, self._end = records_of(self._content)

    def load(self, *parts: bytes) -> memoryview | None:
        """The value that was stored under exactly these parts; None if there is none that is authentic."""
        name = value_name("", parts)
        found = self._records.get(name)
        if found is None:
            return None
        tag, value = found
        return value if hmac.compare_digest(self._tag(name, value), tag) else None

    def store(self, value: bytes, *parts: bytes) -> None:
        """Keep a value; a shelf that was made before does not hold it."""
        name = value_name("", parts)
        record = _HEAD.pack(self._tag(name, value), name, len(value)) + value
        if self._end == len(self._content):
            self._cache.append(self._name, record, anew=False)
            return
        self._content = memoryview(bytes(self._content[: self._end]) + record)  # what follows makes no sense
        self._records, self._end = records_of(self._content)
        self._cache.append(self._name, bytes(self._content), anew=True)

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
