"""The headers of a zip archive, each held against itself and against the other one of its entry.

``docs/spec/wheel.md`` ("The archive") gives the rules; the record layouts are those of ZIP APPNOTE 6.3.10, sections
4.3.7 (local header), 4.3.9 (data descriptor) and 4.3.12 (central header).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from verifier.errors import Refused
from verifier.value import Value
from verifier.wheels.wheel_paths import shown

_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_DESCRIPTOR = struct.Struct("<4s3I")
_EXTRA = struct.Struct("<2H")
_ZIP64_SIZES = struct.Struct("<2H2Q")

STORED: Final = 0
_DEFLATED: Final = 8
_MAX_VERSION: Final = 20
_HOST_SYSTEMS: Final = (0, 3)
FLAG_DESCRIPTOR: Final = 1 << 3
_FLAG_UTF8: Final = 1 << 11
_KNOWN_FLAGS: Final = 1 << 1 | 1 << 2 | FLAG_DESCRIPTOR | _FLAG_UTF8
_EXTRA_ZIP64: Final = 0x0001
_EXTRA_HARMLESS: Final = (0x5455, 0x7875)
_SATURATED: Final = 0xFFFFFFFF
# What a header may say of its entry: above the 16th bit the mode, with the kind and the permissions; below, of the
# attributes of DOS, read-only, archive, and of a directory that it is one.
_OF_A_FILE: Final = 0o100777 << 16 | 0x01 | 0x20
_OF_A_DIRECTORY: Final = 0o040777 << 16 | 0x01 | 0x20 | 0x10


class Central(Value, frozen=True):
    """A central header as it stands in the file, then its name and extra fields; and the local header that it makes
    expect, with its name and extra fields.
    """

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
    twin: bytes


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


def central_header(data: bytes, position: int, end: int) -> tuple[Central, int]:
    """A central header that says nothing that none may say, whatever the others say; and the offset behind it.

    Args:
        data: the whole archive.
        position: where it begins.
        end: where the central directory ends.

    Raises:
        Refused: ``wheel.archive``.
    """
    name_start = position + _CENTRAL.size
    if name_start > end:
        raise malformed("the central directory is cut short")
    fields = _CENTRAL.unpack_from(data, position)
    name_length, extra_length, comment_length = fields[10:13]
    extra_start = name_start + name_length
    extra_stop = extra_start + extra_length
    if extra_stop + comment_length > end:
        raise malformed("the central directory is cut short")
    # A local header holds what stands in the central one from the version to the length of the extra fields.
    twin = b"PK\x03\x04%b%b" % (data[position + 6 : position + 32], data[name_start:extra_stop])
    entry = Central(*(*fields, data[name_start:extra_start], data[extra_start:extra_stop], twin))
    _check_central(entry)
    return entry, extra_stop + comment_length


def _check_central(entry: Central) -> None:
    if entry.signature != b"PK\x01\x02":
        raise malformed("a central header has no signature")
    if entry.flags & ~_KNOWN_FLAGS:
        raise malformed(f"{shown(entry.name)} is encrypted or uses an unknown feature", f"flags {entry.flags:#06x}")
    if entry.method not in (STORED, _DEFLATED):
        found = f"method {entry.method}"
        raise malformed(f"{shown(entry.name)} is compressed by an unknown method", found, "stored or deflate")
    if entry.version > _MAX_VERSION or entry.made_by >> 8 not in _HOST_SYSTEMS:
        found = f"{entry.version}, {entry.made_by:#06x}"
        raise malformed(f"{shown(entry.name)} needs an unknown version or system", found)
    if _SATURATED in (entry.packed, entry.size, entry.offset):
        raise malformed(f"{shown(entry.name)} has zip64 sizes")
    if entry.disk or entry.comment_length:
        raise malformed(f"{shown(entry.name)} lies on another disk or has a comment")
    if entry.method == STORED and entry.packed != entry.size:
        raise malformed(f"{shown(entry.name)} is stored with two different sizes")
    is_directory = entry.name.endswith(b"/")
    if entry.external & ~(_OF_A_DIRECTORY if is_directory else _OF_A_FILE):
        raise malformed(f"{shown(entry.name)} is a link, a device or otherwise special", f"{entry.external:#010x}")
    if is_directory and (entry.method != STORED or entry.size or entry.crc or entry.flags & FLAG_DESCRIPTOR):
        raise malformed(f"the directory {shown(entry.name)} has data")


def name_of(entry: Central) -> str:
    """The name, with a directory's closing slash, which is not checked.

    Raises:
        Refused: ``wheel.archive``.
    """
    try:
        return entry.name.decode("utf-8" if entry.flags & _FLAG_UTF8 else "ascii")
    except UnicodeDecodeError:
        raise malformed(f"the name {shown(entry.name)} is not in its declared encoding") from None


def data_start(data: bytes, entry: Central, position: int) -> int:
    """Hold the local header against the central one; the offset of the data behind it.

    Args:
        data: the whole archive.
        entry: the central header.
        position: where the entry before it ended.

    Raises:
        Refused: ``wheel.archive``.
    """
    if entry.offset != position:
        what = f"{shown(entry.name)} does not begin where the entry before it ends"
        raise malformed(what, f"{entry.offset}", f"{position}")
    if data.startswith(entry.twin, position):  # the two say the same, byte for byte
        if entry.extra:
            _check_known(entry)
        return position + len(entry.twin)
    return _start_behind_another(data, entry, position)


def _start_behind_another(data: bytes, entry: Central, position: int) -> int:
    """The same for a local header that is not the central one's twin: some differences are allowed."""
    name = shown(entry.name)
    if position + _LOCAL.size > len(data):
        raise malformed(f"the local header of {name} is cut short")
    local = _Local._make(_LOCAL.unpack_from(data, position))
    name_start = position + _LOCAL.size
    extra_start = name_start + local.name_length
    start = extra_start + local.extra_length
    if local.signature != b"PK\x03\x04":
        raise malformed(f"{name} has no local header at its offset")
    if data[name_start:extra_start] != entry.name:
        raise malformed(f"{name} has another name in its local header", shown(data[name_start:extra_start]))
    if local[1:6] != (entry.version, entry.flags, entry.method, entry.time, entry.date):
        raise malformed(f"{name} has another version, method, flags or time in its local header")
    sizes = (local.crc, local.packed, local.size)
    deferred = entry.flags & FLAG_DESCRIPTOR and sizes == (0, 0, 0)
    if sizes != (entry.crc, entry.packed, entry.size) and not deferred:
        raise malformed(f"{name} has another checksum or size in its local header")
    _check_extra(data[extra_start:start], local, entry)
    return start


def _check_extra(extra: bytes, local: _Local, entry: Central) -> None:
    """Extra fields: the same twice; or a zip64 field that repeats the local header."""
    if extra != entry.extra:
        repeats = _ZIP64_SIZES.pack(_EXTRA_ZIP64, 16, local.size, local.packed)
        if entry.extra or extra != repeats:
            raise malformed(f"{shown(entry.name)} has different extra fields in its two headers")
        return
    _check_known(entry)


def _check_known(entry: Central) -> None:
    """Extra fields are known harmless ones."""
    extra, position = entry.extra, 0
    while position < len(extra):
        if position + _EXTRA.size > len(extra):
            raise malformed(f"the extra fields of {shown(entry.name)} are cut short")
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size + length
        if kind not in _EXTRA_HARMLESS or position > len(extra):
            raise malformed(f"{shown(entry.name)} has an unknown or damaged extra field", f"{kind:#06x}")


def after_descriptor(data: bytes, entry: Central, position: int) -> int:
    """The offset behind a data descriptor, which has to be at ``position`` and agree with the central header.

    Raises:
        Refused: ``wheel.archive``.
    """
    expected = _DESCRIPTOR.pack(b"PK\x07\x08", entry.crc, entry.packed, entry.size)
    if data[position : position + _DESCRIPTOR.size] != expected:
        raise malformed(f"the data descriptor of {shown(entry.name)} is missing or differs from its central header")
    return position + _DESCRIPTOR.size


def malformed(what: str, found: str = "", expected: str = "") -> Refused:
    """A refusal of an archive."""
    return Refused("wheel.archive", what, found=found, expected=expected)
