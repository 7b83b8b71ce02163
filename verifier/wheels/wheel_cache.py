"""What the strict reader found in a wheel, kept for the next time that a process reads the same wheel.

Whether a wheel is sound, and what is in it, depends on its bytes, its name, the caps and the reader alone. All of that
is what an entry is kept under. What remains undone for a known wheel is to unpack and hash all its files; those that
are used are held against their sha256, which is part of the entry. Only what was accepted is kept.

``docs/adr/0008-code-cache.md`` says what makes a cache safe to use.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import packaging

from verifier.private_cache import PrivateCache
from verifier.shelves import Shelf
from verifier.wheels.archive import Limits
from verifier.wheels.core_metadata import CoreMetadata
from verifier.wheels.snapshot import Contents, Place, Snapshot

READER: Final = 16
"""Raised with every change of what the strict reader accepts or finds; ``tests/verifier/test_wheel_cache.py`` asks."""

MAX_SEEN: Final = 16 << 20
"""Bytes of what is kept of files that were seen; past it, only of those that were seen last."""

_KIND: Final = "wheel"
_SEEN: Final = "seen"
_DIGEST: Final = len("sha256:") + 64


def recall(
    cache: PrivateCache,
    read: Callable[[int, int], bytes | memoryview],
    digest: str,
    file_name: str,
    limits: Limits,
) -> Snapshot | None:
    """What was found in a wheel before; None if it was not read before.

    Args:
        cache: where that is kept.
        read: gives bytes of the wheel, as :class:`Contents` takes it.
        digest: "sha256:<64 hex>" of it.
        file_name: its name, without directories.
        limits: the caps that hold now.
    """
    value = cache.load(_KIND, *_parts(digest, file_name, limits))
    return None if value is None else _found(cache, read, digest, file_name, value)


class SeenFiles:
    """Which files were seen before, in which state, and what was found in the wheel that each was: on one shelf.

    Args:
        cache: where that is kept.

    Attributes:
        cache: the same.
    """

    def __init__(self, cache: PrivateCache) -> None:
        self.cache = cache
        self._shelf = Shelf(cache, _SEEN, most=MAX_SEEN)

    def recall(
        self, read: Callable[[int, int], bytes | memoryview], state: bytes, file_name: str, limits: Limits
    ) -> Snapshot | None:
        """What was found in the wheel that a file was; None if that is not known of the file in this very state.

        Args:
            read: as for :func:`recall`.
            state: which file it is, in which state, as :func:`verifier.private_directory.state_of` tells it.
            file_name: as for :func:`recall`.
            limits: likewise.
        """
        value = self._shelf.load(state, *_parts("", file_name, limits))
        if value is None:
            return None
        return _found(self.cache, read, bytes(value[:_DIGEST]).decode(), file_name, value[_DIGEST:])

    def remember(self, state: bytes, digest: str, file_name: str, limits: Limits) -> None:
        """Keep that a file, in this state, is a wheel of this digest that was accepted; the rest as :meth:`recall`."""
        value = self.cache.load(_KIND, *_parts(digest, file_name, limits))
        if value is not None:
            self._shelf.store(digest.encode() + value, state, *_parts("", file_name, limits))


def _found(
    cache: PrivateCache,
    read: Callable[[int, int], bytes | memoryview],
    digest: str,
    file_name: str,
    value: bytes | memoryview,
) -> Snapshot:
    """The snapshot that was kept."""
    facts, metadata, tags, top_levels, files = marshal.loads(value)  # noqa: S302 - authenticated when it was loaded
    name, version, dist_info, record_digest, root_is_purelib = facts
    return Snapshot(
        digest=digest,
        file_name=file_name,
        name=name,
        version=version,
        files=Contents(read, files, cache),
        dist_info=dist_info,
        record_digest=record_digest,
        metadata=CoreMetadata(*metadata),
        root_is_purelib=root_is_purelib,
        tags=frozenset(tags),
        top_levels=frozenset(top_levels),
    )


def remember(cache: PrivateCache, snapshot: Snapshot, places: Mapping[str, Place], limits: Limits) -> None:
    """Keep what was found in a wheel that was accepted.

    Args:
        cache: where to keep it.
        snapshot: what was found.
        places: where each of its files lies in the wheel.
        limits: the caps that held.
    """
    found = snapshot.metadata
    value = (
        (snapshot.name, snapshot.version, snapshot.dist_info, snapshot.record_digest, snapshot.root_is_purelib),
        (found.name, found.version, found.requires_dist, found.requires_python, found.license_expression),
        sorted(snapshot.tags),
        sorted(snapshot.top_levels),
        dict(places),
    )
    cache.store(marshal.dumps(value), _KIND, *_parts(snapshot.digest, snapshot.file_name, limits))


def _parts(digest: str, file_name: str, limits: Limits) -> tuple[bytes, ...]:
    reader = _reader(limits, READER, packaging.__version__, sys.version)
    return digest.encode(), file_name.encode("utf-8", "surrogatepass"), reader


@lru_cache(maxsize=8)
def _reader(*of: object) -> bytes:
    """What finds things in wheels, and within which caps."""
    return repr(of).encode()
