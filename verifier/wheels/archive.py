"""A zip archive, read wholly from memory, where everything ambiguous is refused.

``docs/spec/wheel.md`` ("The archive") gives the rules; the record layouts are those of ZIP APPNOTE 6.3.10, sections
4.3.7 (local header), 4.3.9 (data descriptor), 4.3.12 (central header) and 4.3.16 (end record).

The order of work: (1) the end record, (2) all central headers, and the sizes they state against the caps, (3) each
entry in turn: its local header, its span, its content. Nothing is unpacked before all central headers hold.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from verifier.errors import Refused
from verifier.wheels.wheel_paths import Tree, check_path, shown

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
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
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_DESCRIPTOR = struct.Struct("<4s3I")
_EXTRA = struct.Struct("<2H")
_ZIP64_SIZES = struct.Struct("<2H2Q")

_STORED: Final = 0
_DEFLATED: Final = 8
_MAX_VERSION: Final = 20
_HOST_SYSTEMS: Final = (0, 3)
_FLAG_DESCRIPTOR: Final = 1 << 3
_FLAG_UTF8: Final = 1 << 11
_KNOWN_FLAGS: Final = 1 << 1 | 1 << 2 | _FLAG_DESCRIPTOR | _FLAG_UTF8
_EXTRA_ZIP64: Final = 0x0001
_EXTRA_HARMLESS: Final = (0x5455, 0x7875)
_SATURATED: Final = 0xFFFFFFFF
_DOS_ATTRIBUTES: Final = 0x01 | 0x10 | 0x20
_DOS_DIRECTORY: Final = 0x10
_MODE_KIND: Final = 0o170000
_MODE_SPECIAL: Final = 0o007000
_KIND_FILE: Final = 0o100000
_KIND_DIRECTORY: Final = 0o040000


class _Central(NamedTuple):
    """A central header as it stands in the file, then its name and extra fields."""

    signature: bytes
    made_by: int
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: int
    size: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    internal: int
    external: int
    offset: int
    name: bytes
    extra: bytes


class _Local(NamedTuple):
    """A local header as it stands in the file."""

    signature: bytes
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: int
    size: int
    name_length: int
    extra_length: int


class Span(NamedTuple):
    """Where a file's packed content lies in an archive that was checked, and how it is unpacked.

    Attributes:
        start: offset of its first byte.
        packed: its length there.
        size: its length unpacked.
        method: 0 (stored) or 8 (deflate).
    """

    start: int
    packed: int
    size: int
    method: int


def read_archive(data: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """Unpack an archive in memory; as :func:`read_spans`, without the spans."""
    return read_spans(data, limits)[0]


def unpack(data: bytes, span: Span, path: str) -> bytes:
    """Unpack one file of an archive that :func:`read_spans` has accepted.

    Args:
        data: the whole archive, the same bytes.
        span: where the file lies.
        path: its path, for messages.

    Raises:
        Refused: ``wheel.archive`` if these are not the same bytes after all.
    """
    return _inflate(memoryview(data)[span.start : span.start + span.packed], span, path.encode())


def read_spans(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[dict[str, bytes], dict[str, Span]]:
    """Unpack an archive in memory.

    Args:
        data: the whole archive.
        limits: caps on what is unpacked; ``limits.archive`` is for the caller who reads the file.

    Returns:
        Path to content, and path to span, in the order of the archive. Directories have no entry of their own.

    Raises:
        Refused: ``wheel.archive``, ``wheel.path``, ``wheel.collision`` or ``wheel.bomb``.
    """
    count, directory_start = _end_record(data, limits)
    entries = _central_directory(data, count, directory_start, limits)
    view = memoryview(data)
    tree = Tree()
    files: dict[str, bytes] = {}
    spans: dict[str, Span] = {}
    position = 0
    for entry in entries:
        path, is_directory = _name(entry)
        tree.add(path, directory=is_directory)
        start = _local_header(data, entry, position)
        stop = start + entry.packed
        if stop > directory_start:
            raise _malformed(f"the data of {shown(entry.name)} reaches into the central directory")
        if not is_directory:
            spans[path] = Span(start, entry.packed, entry.size, entry.method)
            files[path] = _content(view[start:stop], spans[path], entry)
        position = _after_descriptor(data, entry, stop) if entry.flags & _FLAG_DESCRIPTOR else stop
    if position != directory_start:
        raise _malformed("bytes that belong to no entry lie before the central directory", f"at offset {position}")
    return files, spans


def _end_record(data: bytes, limits: Limits) -> tuple[int, int]:
    """The number of entries and the offset of the central directory (1)."""
    start = len(data) - _END.size
    if start < 0 or data[start : start + 4] != b"PK\x05\x06":
        raise _malformed("the archive does not end with its end record", "truncated, appended to, commented, or no zip")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, start)
    if disk or first_disk or here != count or comment:
        raise _malformed("the end record speaks of several disks or of a comment")
    if count > limits.entries:
        raise Refused(
            "wheel.bomb", "the archive has too many entries", found=f"{count}", expected=f"≤ {limits.entries}"
        )
    if offset + size != start:
        raise _malformed("the central directory does not fill the space before the end record")
    return count, offset


def _central_directory(data: bytes, count: int, start: int, limits: Limits) -> list[_Central]:
    """All central headers, each checked by itself, and their sizes against the caps (2)."""
    end = len(data) - _END.size
    position = start
    total = 0
    entries: list[_Central] = []
    for _ in range(count):
        if position + _CENTRAL.size > end:
            raise _malformed("the central directory is cut short")
        fields = _CENTRAL.unpack_from(data, position)
        name_start = position + _CENTRAL.size
        extra_start = name_start + fields[10]
        position = extra_start + fields[11] + fields[12]
        if position > end:
            raise _malformed("the central directory is cut short")
        extra_stop = extra_start + fields[11]
        entry = _Central._make((*fields, data[name_start:extra_start], data[extra_start:extra_stop]))
        _check_central(entry)
        total += entry.size
        if entry.size > limits.file or total > limits.total:
            raise Refused("wheel.bomb", f"unpacking {shown(entry.name)} would exceed the cap", found=f"{total} bytes")
        entries.append(entry)
    if position != end:
        raise _malformed("the central directory holds more than its entries")
    if total > max(limits.ratio_floor, limits.ratio * len(data)):
        raise Refused("wheel.bomb", "the archive unpacks to too great a multiple of itself", found=f"{total} bytes")
    return entries


def _check_central(entry: _Central) -> None:
    """What one central header may say, whatever the others say."""
    name = shown(entry.name)
    if entry.signature != b"PK\x01\x02":
        raise _malformed("a central header has no signature")
    if entry.flags & ~_KNOWN_FLAGS:
        raise _malformed(f"{name} is encrypted or uses an unknown feature", f"flags {entry.flags:#06x}")
    if entry.method not in (_STORED, _DEFLATED):
        raise _malformed(f"{name} is compressed by an unknown method", f"method {entry.method}", "stored or deflate")
    if entry.version > _MAX_VERSION or entry.made_by >> 8 not in _HOST_SYSTEMS:
        raise _malformed(f"{name} needs an unknown version or system", f"{entry.version}, {entry.made_by:#06x}")
    if _SATURATED in (entry.packed, entry.size, entry.offset):
        raise _malformed(f"{name} has zip64 sizes")
    if entry.disk or entry.comment_length:
        raise _malformed(f"{name} lies on another disk or has a comment")
    if entry.method == _STORED and entry.packed != entry.size:
        raise _malformed(f"{name} is stored with two different sizes")
    _check_kind(entry)


def _check_kind(entry: _Central) -> None:
    """A regular file, or a directory whose name says so; nothing else."""
    is_directory = entry.name.endswith(b"/")
    mode, dos = entry.external >> 16, entry.external & 0xFFFF
    kinds = (0, _KIND_DIRECTORY) if is_directory else (0, _KIND_FILE)
    wrong = mode & _MODE_KIND not in kinds or mode & _MODE_SPECIAL or dos & ~_DOS_ATTRIBUTES
    if wrong or (dos & _DOS_DIRECTORY and not is_directory):
        raise _malformed(f"{shown(entry.name)} is a link, a device or otherwise special", f"{entry.external:#010x}")
    if is_directory and (entry.method != _STORED or entry.size or entry.crc or entry.flags & _FLAG_DESCRIPTOR):
        raise _malformed(f"the directory {shown(entry.name)} has data")


def _name(entry: _Central) -> tuple[str, bool]:
    """The checked path, without a directory's closing slash, and whether it is a directory."""
    try:
        name = entry.name.decode("utf-8" if entry.flags & _FLAG_UTF8 else "ascii")
    except UnicodeDecodeError:
        raise _malformed(f"the name {shown(entry.name)} is not in its declared encoding") from None
    is_directory = name.endswith("/")
    path = name[:-1] if is_directory else name
    check_path(path)
    return path, is_directory


def _local_header(data: bytes, entry: _Central, position: int) -> int:
    """Hold the local header against the central one; the offset of the data behind it (3)."""
    name = shown(entry.name)
    if entry.offset != position:
        raise _malformed(f"{name} does not begin where the entry before it ends", f"{entry.offset}", f"{position}")
    if position + _LOCAL.size > len(data):
        raise _malformed(f"the local header of {name} is cut short")
    local = _Local._make(_LOCAL.unpack_from(data, position))
    name_start = position + _LOCAL.size
    extra_start = name_start + local.name_length
    start = extra_start + local.extra_length
    if local.signature != b"PK\x03\x04":
        raise _malformed(f"{name} has no local header at its offset")
    if data[name_start:extra_start] != entry.name:
        raise _malformed(f"{name} has another name in its local header", shown(data[name_start:extra_start]))
    if local[1:6] != entry[2:7]:
        raise _malformed(f"{name} has another version, method, flags or time in its local header")
    sizes = (local.crc, local.packed, local.size)
    deferred = entry.flags & _FLAG_DESCRIPTOR and sizes == (0, 0, 0)
    if sizes != (entry.crc, entry.packed, entry.size) and not deferred:
        raise _malformed(f"{name} has another checksum or size in its local header")
    _check_extra(data[extra_start:start], local, entry)
    return start


def _check_extra(extra: bytes, local: _Local, entry: _Central) -> None:
    """Extra fields: known harmless ones, the same twice; or a zip64 field that repeats the local header."""
    if extra != entry.extra:
        repeats = _ZIP64_SIZES.pack(_EXTRA_ZIP64, 16, local.size, local.packed)
        if entry.extra or extra != repeats:
            raise _malformed(f"{shown(entry.name)} has different extra fields in its two headers")
        return
    position = 0
    while position < len(extra):
        if position + _EXTRA.size > len(extra):
            raise _malformed(f"the extra fields of {shown(entry.name)} are cut short")
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size + length
        if kind not in _EXTRA_HARMLESS or position > len(extra):
            raise _malformed(f"{shown(entry.name)} has an unknown or damaged extra field", f"{kind:#06x}")


def _after_descriptor(data: bytes, entry: _Central, position: int) -> int:
    expected = _DESCRIPTOR.pack(b"PK\x07\x08", entry.crc, entry.packed, entry.size)
    if data[position : position + _DESCRIPTOR.size] != expected:
        raise _malformed(f"the data descriptor of {shown(entry.name)} is missing or differs from its central header")
    return position + _DESCRIPTOR.size


def _content(packed: memoryview, span: Span, entry: _Central) -> bytes:
    """Unpack one file, and hold its checksum against the central header."""
    content = _inflate(packed, span, entry.name)
    if zlib.crc32(content) != entry.crc:
        raise _malformed(f"the content of {shown(entry.name)} and its checksum differ")
    return content


def _inflate(packed: memoryview, span: Span, name: bytes) -> bytes:
    """Unpack one file; never more than one byte past its stated size."""
    if span.method == _STORED:
        content = bytes(packed)
    else:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflate.decompress(packed, span.size + 1)
        except zlib.error as error:
            raise _malformed(f"{shown(name)} does not inflate") from error
        if not inflate.eof or inflate.unused_data or inflate.unconsumed_tail:
            raise _malformed(f"the compressed data of {shown(name)} and its stated size differ")
    if len(content) != span.size:
        raise _malformed(f"the content of {shown(name)} and its size differ")
    return content


def _malformed(what: str, found: str = "", expected: str = "") -> Refused:
    return Refused("wheel.archive", what, found=found, expected=expected)
