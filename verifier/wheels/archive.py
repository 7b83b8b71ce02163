"""A zip archive, read wholly from memory, where everything ambiguous is refused.

``docs/spec/wheel.md`` ("The archive") gives the rules; the layout of the end record is that of ZIP APPNOTE 6.3.10,
section 4.3.16. Headers of entries are :mod:`verifier.wheels.archive_headers`' work.

The order of work: (1) the end record, (2) all central headers, and the sizes they state against the caps, (3) all
names, (4) each entry's local header and span, (5) the contents. Nothing is unpacked before all headers hold.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from verifier.errors import Refused
from verifier.value import Value
from verifier.wheels.archive_headers import (
    FLAG_DESCRIPTOR,
    STORED,
    Central,
    after_descriptor,
    central_header,
    data_start,
    malformed,
    name_of,
)
from verifier.wheels.wheel_paths import check_names, shown

_MIB: Final = 1 << 20


class Limits(Value, frozen=True):
    """Caps on a wheel. All sizes are bytes.

    Attributes:
        archive: the wheel file.
        entries: files and directories inside.
        file: one file, unpacked.
        total: all files, unpacked.
        ratio: all files, unpacked, as a multiple of the wheel; it counts from ``ratio_floor`` on.
        ratio_floor: what may be unpacked from a wheel of any size.
    """

    archive: int = 256 * _MIB
    entries: int = 20_000
    file: int = 256 * _MIB
    total: int = 1024 * _MIB
    ratio: int = 200
    ratio_floor: int = 16 * _MIB


DEFAULT_LIMITS: Final = Limits()

_END = struct.Struct("<4s4H2IH")


Span = tuple[int, int, int, int]
"""Where a file's packed content lies in an archive that was checked, and how it is unpacked: the offset of its first
byte, its length there, its length unpacked, and the method, 0 (stored) or 8 (deflate).
"""


def read_archive(data: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """All files of an archive, as :func:`read_files` reads them: path to content."""
    return {path: content for path, _, content in read_files(data, limits)}


def read_files(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[str, Span, bytes]]:
    """Unpack the files of an archive in memory one after another; whoever does not keep them needs room for one.

    Args:
        data: the whole archive.
        limits: caps on what is unpacked; ``limits.archive`` is for the caller who reads the file.

    Returns:
        Path, span and content of each, in the order of the archive. Directories have no entry of their own. The archive
        is accepted once all were given.

    Raises:
        Refused: ``wheel.archive``, ``wheel.path``, ``wheel.collision`` or ``wheel.bomb``.
    """
    count, directory_start = _end_record(data, limits)
    entries = _central_directory(data, count, directory_start, limits)
    names = [name_of(entry) for entry in entries]
    check_names(names)
    spans, checksums = _spans(data, entries, names, directory_start)
    view = memoryview(data)
    for (path, span), checksum in zip(spans.items(), checksums, strict=True):
        start, packed, size, method = span
        content = unpack(view[start : start + packed], size, method, path)
        if zlib.crc32(content) != checksum:
            raise malformed(f"the content of {shown(path)} and its checksum differ")
        yield path, span, content


def _spans(
    data: bytes, entries: Iterable[Central], names: Iterable[str], directory_start: int
) -> tuple[dict[str, Span], list[int]]:
    """Where each file lies, and the checksum it is to have: the headers agree, and nothing lies between (4)."""
    spans: dict[str, Span] = {}
    checksums: list[int] = []
    position = 0
    for entry, name in zip(entries, names, strict=True):
        start = data_start(data, entry, position)
        stop = start + entry.packed
        if stop > directory_start:
            raise malformed(f"the data of {shown(entry.name)} reaches into the central directory")
        if not name.endswith("/"):
            spans[name] = (start, entry.packed, entry.size, entry.method)
            checksums.append(entry.crc)
        position = after_descriptor(data, entry, stop) if entry.flags & FLAG_DESCRIPTOR else stop
    if position != directory_start:
        raise malformed("bytes that belong to no entry lie before the central directory", f"at offset {position}")
    return spans, checksums


def _end_record(data: bytes, limits: Limits) -> tuple[int, int]:
    """The number of entries and the offset of the central directory (1)."""
    start = len(data) - _END.size
    if start < 0 or data[start : start + 4] != b"PK\x05\x06":
        raise malformed("the archive does not end with its end record", "truncated, appended to, commented, or no zip")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, start)
    if disk or first_disk or here != count or comment:
        raise malformed("the end record speaks of several disks or of a comment")
    if count > limits.entries:
        raise Refused(
            "wheel.bomb", "the archive has too many entries", found=f"{count}", expected=f"≤ {limits.entries}"
        )
    if offset + size != start:
        raise malformed("the central directory does not fill the space before the end record")
    return count, offset


def _central_directory(data: bytes, count: int, start: int, limits: Limits) -> list[Central]:
    """All central headers, each checked by itself, and their sizes against the caps (2)."""
    end = len(data) - _END.size
    position = start
    entries: list[Central] = []
    for _ in range(count):
        entry, position = central_header(data, position, end)
        entries.append(entry)
    if position != end:
        raise malformed("the central directory holds more than its entries")
    sizes = [entry.size for entry in entries]
    total, largest = sum(sizes), max(sizes, default=0)
    if largest > limits.file or total > limits.total:
        found = f"{total} bytes, {largest} of them in one file"
        raise Refused("wheel.bomb", "unpacking the archive would exceed the caps", found=found)
    if total > max(limits.ratio_floor, limits.ratio * len(data)):
        raise Refused("wheel.bomb", "the archive unpacks to too great a multiple of itself", found=f"{total} bytes")
    return entries


def unpack(packed: bytes | memoryview, size: int, method: int, path: str) -> bytes:
    """Unpack one file; never more than one byte past its stated size.

    Args:
        packed: what lies in the archive at its span.
        size: how many bytes are to come of it.
        method: by which they do.
        path: its path, for messages.

    Raises:
        Refused: ``wheel.archive`` if these are not bytes that unpack to a file of that size.
    """
    if method == STORED:
        content = bytes(packed)
    else:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflate.decompress(packed, size + 1)
        except zlib.error as error:
            raise malformed(f"{shown(path)} does not inflate") from error
        if not inflate.eof or inflate.unused_data or inflate.unconsumed_tail:
            raise malformed(f"the compressed data of {shown(path)} and its stated size differ")
    if len(content) != size:
        raise malformed(f"the content of {shown(path)} and its size differ")
    return content
