"""What a shared library says of itself and of the libraries it needs: the dynamic section of an ELF file.

Only verified bytes are read here, to know in advance what the system's loader will ask for. Sources: System V ABI,
chapters 4 and 5 ("ELF header", "Program header", "Dynamic section"); elf(5).
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Iterator
from typing import Final

from verifier.errors import Refused
from verifier.private_directory import Spans
from verifier.value import Value
from verifier.wheels.wheel_paths import shown

MAGIC: Final = b"\x7fELF"
MAX_SEGMENTS: Final = 1024
RULE: Final = b"elf 1"
"""By which :func:`read_used` tells what is used; the number is raised when that changes."""

MAX_DYNAMIC: Final = 4096  # entries; large libraries have some dozens

_CLASS, _DATA = 4, 5  # offsets of the two bytes that say how all others are to be read
_ORDERS: Final = {1: "<", 2: ">"}
_LOAD, _DYNAMIC = 1, 2
_END, _NEEDED, _STRING_TABLE, _SONAME, _RPATH, _RUNPATH = 0, 1, 5, 14, 15, 29
_STRINGS: Final = frozenset({_NEEDED, _SONAME, _RPATH, _RUNPATH})


class _Layout(Value, frozen=True):
    """Where the fields are that are needed, for 32 and 64 bits.

    Attributes:
        header: the whole of it.
        segment: one program header.
        order: of its fields: type, offset in the file, address, size in the file.
        entry: one entry of the dynamic section, tag and value.
    """

    header: str
    segment: str
    order: tuple[int, int, int, int]
    entry: str


_LAYOUTS: Final = {
    1: _Layout("16s2H5I6H", "8I", (0, 1, 2, 4), "iI"),
    2: _Layout("16s2HI3QI6H", "2I6Q", (0, 2, 3, 5), "qQ"),
}
_HEADERS_AT, _HEADERS_COUNT = 5, 10  # indexes into the unpacked header


class Dynamic(Value, frozen=True):
    """What the dynamic section says.

    Attributes:
        soname: the name under which others ask for this library; empty if it has none.
        needed: the names of the libraries that it asks for, in order.
        search: the directories in which it wants them searched, as written, such as "$ORIGIN/../x.libs".
        searched_first: whether these come before those of the environment (DT_RPATH does, DT_RUNPATH does not).
    """

    soname: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    searched_first: bool


def read_dynamic(content: bytes | mmap.mmap, path: str) -> Dynamic:
    """Read the dynamic section of a shared library.

    Args:
        content: the whole file.
        path: its path in the wheel, for messages.

    Raises:
        Refused: ``wheel.unsupported`` if it is malformed, or no ELF file at all.
    """
    with _sound(path):
        return _dynamic(content, _headers(content))


def read_used(content: bytes | mmap.mmap, path: str) -> Spans:
    """The parts of a shared library that the system's loader reads or maps: its headers, and what they point to.

    Args:
        content: the whole file.
        path: its path in the wheel, for messages.

    Raises:
        Refused: ``wheel.unsupported`` if it is malformed, or no ELF file at all.
    """
    with _sound(path):
        found = _headers(content)
        return (*found.tables, *((offset, size) for _, offset, _, size in found.segments if size))


@contextlib.contextmanager
def _sound(path: str) -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError, KeyError, OverflowError, ValueError) as error:
        raise Refused(
            "wheel.unsupported", f"{shown(path)} is no sound ELF library", found=str(error) or type(error).__name__
        ) from error


class _Headers(Value, frozen=True):
    """What a file says of its parts.

    Attributes:
        tables: where the headers lie, the file's own and those of its segments, as offset and length.
        segments: type, offset in the file, address and size in the file of each.
        entry: one entry of the dynamic section, tag and value.
    """

    tables: Spans
    segments: list[tuple[int, ...]]
    entry: struct.Struct


def _headers(content: bytes | mmap.mmap) -> _Headers:
    if content[:4] != MAGIC:
        raise ValueError("it does not begin as one")
    layout, order = _LAYOUTS[content[_CLASS]], _ORDERS[content[_DATA]]
    header = struct.unpack_from(order + layout.header, content)
    segment = struct.Struct(order + layout.segment)
    at, count = header[_HEADERS_AT], header[_HEADERS_COUNT]
    if count > MAX_SEGMENTS:
        raise ValueError("too many segments")
    segments = [
        tuple(segment.unpack_from(content, at + index * segment.size)[field] for field in layout.order)
        for index in range(count)
    ]
    tables = ((0, struct.calcsize(order + layout.header)), (at, count * segment.size))
    return _Headers(tables, segments, struct.Struct(order + layout.entry))


def _dynamic(content: bytes | mmap.mmap, headers: _Headers) -> Dynamic:
    segments = headers.segments
    values = _values(content, headers.entry, segments)
    if not values:
        return Dynamic("", (), (), searched_first=False)
    table = _file_offset(next((value for tag, value in values if tag == _STRING_TABLE), 0), segments)

    used = [(tag, value) for tag, value in values if tag in _STRINGS]

    def strings(wanted: int) -> tuple[str, ...]:
        return tuple(_string(content, table + value) for tag, value in used if tag == wanted)

    late, early = strings(_RUNPATH), strings(_RPATH)  # as ld.so(8) says, the latter counts only without the former
    return Dynamic(
        soname="".join(strings(_SONAME)[:1]),
        needed=strings(_NEEDED),
        search=tuple(part for entry in late or early for part in entry.split(":")),
        searched_first=not late,
    )


def _values(content: bytes | mmap.mmap, entry: struct.Struct, segments: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """The entries of the dynamic section, (tag, value) each."""
    found: list[tuple[int, int]] = []
    for kind, offset, _, size in segments:
        if kind == _DYNAMIC:
            count = min(size // entry.size, MAX_DYNAMIC)
            section = content[offset : offset + count * entry.size]
            whole = section[: len(section) // entry.size * entry.size]
            for tag, value in entry.iter_unpack(whole):
                if tag == _END:
                    break
                found.append((tag, value))
            else:
                if len(section) < count * entry.size:
                    raise ValueError("its dynamic section is cut short")
    return found


def _file_offset(address: int, segments: list[tuple[int, ...]]) -> int:
    for kind, offset, start, size in segments:
        if kind == _LOAD and start <= address < start + size:
            return offset + address - start
    raise ValueError("its string table lies nowhere")


def _string(content: bytes | mmap.mmap, offset: int) -> str:
    end = content.find(b"\0", offset)
    if end < 0:
        raise ValueError("a name in it has no end")
    return content[offset:end].decode("utf-8")
