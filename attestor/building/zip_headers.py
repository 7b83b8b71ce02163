"""The zip header table of a wheel: all that its bytes say beside the content of its files.

Two wheels with the same files can still differ in the order of entries, their times, modes and compression. That is the
table; it can be read from one wheel and grafted onto another, which answers whether anything else differs.

The record layouts are those of ZIP APPNOTE 6.3.10, sections 4.3.7, 4.3.9, 4.3.12 and 4.3.16. Only archives that
:func:`verifier.wheels.archive.read_archive` accepted are read here, so that nothing in them is ambiguous or out of
bounds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

_END: Final = struct.Struct("<4s4H2IH")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_DESCRIPTOR: Final = struct.Struct("<4s3I")
_ZIP64: Final = struct.Struct("<2H2Q")

STORED: Final = 0
DEFLATED: Final = 8
_FLAG_DESCRIPTOR: Final = 1 << 3
_FLAG_UTF8: Final = 1 << 11


class Header(NamedTuple):
    """What a zip archive says of one entry beside its content and what follows from that.

    Attributes:
        name: the path in its bytes; that of a directory ends with a slash.
        made_by: the version (low byte) and the system (high byte) that wrote it.
        version: the version needed to unpack.
        flags: general purpose bits.
        method: :data:`STORED` or :data:`DEFLATED`.
        time, date: of the last change, in the format of DOS.
        internal, external: file attributes; the upper half of ``external`` is the mode.
        extra: the extra fields of the central header.
        deferred: the local header leaves checksum and sizes to the data descriptor.
        zip64: the local header has a zip64 field although no size needs one.
    """

    name: bytes
    made_by: int
    version: int
    flags: int
    method: int
    time: int
    date: int
    internal: int
    external: int
    extra: bytes
    deferred: bool
    zip64: bool

    @property
    def path(self) -> str:
        """The path as text."""
        return self.name.decode("utf-8" if self.flags & _FLAG_UTF8 else "ascii")


class Entry(NamedTuple):
    """One entry of an archive: its header, and its content as it lies there."""

    header: Header
    packed: bytes
    size: int
    crc: int

    @property
    def content(self) -> bytes:
        """The content, unpacked."""
        return self.packed if self.header.method == STORED else zlib.decompress(self.packed, -zlib.MAX_WBITS)


def read_entries(data: bytes) -> tuple[Entry, ...]:
    """The entries of an archive that the strict reader accepted, in its order, directories included."""
    *_, count, _, position, _ = _END.unpack_from(data, len(data) - _END.size)
    entries: list[Entry] = []
    for _ in range(count):
        (_, made_by, version, flags, method, time, date, crc, packed, size, name_length, extra_length, _, _, internal,
         external, offset) = _CENTRAL.unpack_from(data, position)  # fmt: skip
        name_start = position + _CENTRAL.size
        extra_start = name_start + name_length
        position = extra_start + extra_length
        extra = data[extra_start:position]
        *_, local_crc, local_packed, local_size, _, local_extra = _LOCAL.unpack_from(data, offset)
        start = offset + _LOCAL.size + name_length + local_extra
        deferred = bool(flags & _FLAG_DESCRIPTOR) and (local_crc, local_packed, local_size) == (0, 0, 0)
        header = Header(
            data[name_start:extra_start], made_by, version, flags, method, time, date, internal, external, extra,
            deferred=deferred, zip64=data[start - local_extra : start] != extra,
        )  # fmt: skip
        entries.append(Entry(header, data[start : start + packed], size, crc))
    return tuple(entries)


def graft(wheel: bytes, table: Iterable[Header]) -> bytes:
    """The files of one wheel under the header table of another.

    Where both use the same compression method, the wheel's own compressed bytes stay as they are: another compressor is
    no matter of headers. Directories have no content, so those of the table are taken and the wheel's own left out.

    Args:
        wheel: an archive that the strict reader accepted.
        table: the headers, in the order of the other archive, for exactly the wheel's files.

    Raises:
        ValueError: the table is about other files.
    """
    own = {entry.header.name: entry for entry in read_entries(wheel)}
    headers = tuple(table)
    if {header.name for header in headers if not _is_directory(header.name)} != {
        name for name in own if not _is_directory(name)
    }:
        raise ValueError("the header table is about other files than the wheel holds")
    body, directory = bytearray(), bytearray()
    for header in headers:
        entry = own.get(header.name)
        offset = len(body)
        sizes = (0, 0, 0)
        packed = b""
        if entry is not None:
            packed = entry.packed if entry.header.method == header.method else _pack(entry.content, header.method)
            sizes = (entry.crc, len(packed), entry.size)
        body += _local(header, sizes) + packed
        if header.flags & _FLAG_DESCRIPTOR:
            body += _DESCRIPTOR.pack(b"PK\x07\x08", *sizes)
        directory += _central(header, sizes, offset)
    end = _END.pack(b"PK\x05\x06", 0, 0, len(headers), len(headers), len(directory), len(body), 0)
    return bytes(body + directory + end)


def _is_directory(name: bytes) -> bool:
    return name.endswith(b"/")


def _pack(content: bytes, method: int) -> bytes:
    if method == STORED:
        return content
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()


def _local(header: Header, sizes: tuple[int, int, int]) -> bytes:
    crc, packed, size = (0, 0, 0) if header.deferred else sizes
    extra = _ZIP64.pack(1, 16, size, packed) if header.zip64 else header.extra
    fixed = _LOCAL.pack(
        b"PK\x03\x04", header.version, header.flags, header.method, header.time, header.date, crc, packed, size,
        len(header.name), len(extra),
    )  # fmt: skip
    return fixed + header.name + extra


def _central(header: Header, sizes: tuple[int, int, int], offset: int) -> bytes:
    fixed = _CENTRAL.pack(
        b"PK\x01\x02", header.made_by, header.version, header.flags, header.method, header.time, header.date, *sizes,
        len(header.name), len(header.extra), 0, 0, header.internal, header.external, offset,
    )  # fmt: skip
    return fixed + header.name + header.extra
