"""What the strict reader makes of a wheel: its files and facts, which nothing can change."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from verifier.errors import Refused
from verifier.private_cache import PrivateCache, write_all
from verifier.private_directory import Used, leave_only
from verifier.value import Value
from verifier.wheels.archive import unpack
from verifier.wheels.core_metadata import CoreMetadata
from verifier.wheels.wheel_paths import shown

KEPT_UNPACKED: Final = 64 << 10
"""Bytes from which on a file is kept unpacked once it was used; below, unpacking it again is as quick."""

_KIND: Final = "file"


class Files(Mapping[str, bytes]):
    """The files of a wheel, each fetched when it is asked for; what is given out is what was attested."""

    @abstractmethod
    def sha256(self, path: str) -> bytes:
        """The sha256 of a file."""

    @abstractmethod
    def pour(self, path: str, descriptor: int, used: Used | None = None) -> None:
        """Write a file's content to an empty file; perhaps only those parts that are used, and zeros for the rest.

        Raises:
            OSError: the file cannot be written.
        """


class Snapshot(Value, frozen=True, eq=False):
    """A wheel that was read, whole and unchangeable. Two snapshots are the same wheel when their digests are equal.

    Attributes:
        digest: "sha256:<64 hex>" of the whole wheel.
        file_name: the name that the wheel was given, without directories.
        name: the project's name, normalised (PEP 503).
        version: the version, canonical (PEP 440).
        files: path inside the wheel to content; read-only, and unpacked when it is used.
        dist_info: the directory with METADATA, WHEEL and RECORD.
        record_digest: "sha256:<64 hex>" of the bytes of RECORD.
        metadata: what METADATA says, as far as it is used.
        root_is_purelib: what WHEEL says of the root.
        tags: expanded tags, such as "py3-none-any".
        top_levels: the names that an import could name first.
        unpacked_at: where an installer has unpacked it, and its files are read from; None for a wheel in memory.
    """

    unshown = frozenset({"files"})

    digest: str
    file_name: str
    name: str
    version: str
    files: Files
    dist_info: str
    record_digest: str
    metadata: CoreMetadata
    root_is_purelib: bool
    tags: frozenset[str]
    top_levels: frozenset[str]
    unpacked_at: str | None = None


Place = tuple[int, int, int, int, bytes]
"""Where a file lies in its wheel (a :data:`verifier.wheels.archive.Span`), and the sha256 of its content."""


class Contents(Files):
    """The files of a wheel that was checked whole, now or before, each unpacked when it is asked for, and then held
    against the sha256 that it had when it was checked.

    Args:
        read: gives so many bytes from an offset on of the wheel that was checked; where they are others after all, the
            file is refused.
        places: where each file lies.
        cache: where large files that were used are kept unpacked, if anywhere.
        unpacked: those that will be asked for at once, and are unpacked already.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes | memoryview],
        places: Mapping[str, Place],
        cache: PrivateCache | None = None,
        unpacked: Mapping[str, bytes] | None = None,
    ) -> None:
        self._read = read
        self.places = places
        self._cache = cache
        self._used = dict(unpacked or {})

    def __getitem__(self, path: str) -> bytes:
        content = self._used.get(path)
        if content is None:
            content = self._used[path] = self._content(path)
        return content

    def __contains__(self, path: object) -> bool:
        return path in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def size(self, path: str) -> int:
        """The size of a file in bytes, which need not be unpacked for it."""
        return self.places[path][2]

    def sha256(self, path: str) -> bytes:
        """The sha256 of a file, which need not be unpacked for it."""
        return self.places[path][-1]

    def pour(self, path: str, descriptor: int, used: Used | None = None) -> None:
        """Write a file's content to an empty file, without unpacking it into memory if it is kept unpacked.

        Of a file that is large enough to be kept, only what is used is written, whether it is kept by now or not.

        Raises:
            OSError: the file cannot be written.
        """
        size = self.size(path)
        if size < KEPT_UNPACKED:
            write_all(descriptor, self[path])
        elif self._cache is None or not self._cache.pour(descriptor, _KIND, self.sha256(path), used=used):
            write_all(descriptor, self._content(path))  # which is not kept in memory twice
            if used is not None:
                leave_only(descriptor, size, used.spans(descriptor))

    def _content(self, path: str) -> bytes:
        start, packed, size, method, sha256 = self.places[path]
        cache = self._cache if size >= KEPT_UNPACKED else None
        content = None if cache is None else cache.load(_KIND, sha256)
        if content is not None:
            return content  # authentic, for this very digest
        content = unpack(self._read(start, packed), size, method, path)
        if hashlib.sha256(content).digest() != sha256:
            raise Refused(
                "wheel.archive", f"{shown(path)} is not the file that was in the wheel when it was checked",
                todo="Somebody changed the wheel and hid it: find out who. Put the wheel in place again.",
            )  # fmt: skip
        if cache is not None:
            cache.store(content, _KIND, sha256)
        return content


def slices(wheel: bytes) -> Callable[[int, int], memoryview]:
    """What :class:`Contents` reads a wheel in memory by."""
    view = memoryview(wheel)
    return lambda start, length: view[start : start + length]
