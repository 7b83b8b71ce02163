"""Shared libraries made byte by byte: no code in them, but whatever names the test wants the system's loader to see.

Those of the running interpreter's own kind can be loaded for real; so that an attack on the search for libraries is an
attack, and neither a compiler nor a certain processor is needed.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

NEEDED, HASH, STRTAB, SYMTAB, STRSZ, SYMENT, SONAME, RPATH, RUNPATH = 1, 4, 5, 6, 10, 11, 14, 15, 29
LOAD, DYNAMIC, STACK = 1, 2, 0x6474E551
PAGE = 0x10000


@cache
def native() -> tuple[int, str, int, int]:
    """Bits, byte order, machine and flags of the running interpreter."""
    head = Path(sys.executable).resolve().read_bytes()[:64]
    bits, order = {1: 32, 2: 64}[head[4]], {1: "<", 2: ">"}[head[5]]
    [machine] = struct.unpack_from(f"{order}H", head, 18)
    [flags] = struct.unpack_from(f"{order}I", head, 48 if bits == 64 else 36)
    return bits, order, machine, flags


def shared_library(
    *,
    soname: str = "",
    needed: Iterable[str] = (),
    rpath: str = "",
    runpath: str = "",
    bits: int = 0,
    order: str = "",
    padding: bytes = b"",
) -> bytes:
    """A shared library; of the interpreter's own kind unless told otherwise. ``padding`` makes it differ."""
    own_bits, own_order, machine, flags = native()
    bits, order = bits or own_bits, order or own_order
    word = "Q" if bits == 64 else "I"
    strings = bytearray(b"\0")
    entries: list[tuple[int, int]] = []
    named = [*((NEEDED, name) for name in needed), (SONAME, soname), (RPATH, rpath), (RUNPATH, runpath)]
    for tag, text in named:
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    strings += b"\0" * (-len(strings) % 16)
    header_size, segment_size, symbol_size = (64, 56, 24) if bits == 64 else (52, 32, 16)
    strings_at = -(-(header_size + 3 * segment_size) // 16) * 16
    symbols_at = strings_at + len(strings)
    hash_at = symbols_at + symbol_size
    hash_at += -hash_at % 8
    table = struct.pack(f"{order}4I", 1, 1, 0, 0)
    dynamic_at = hash_at + len(table)
    entries += [(HASH, hash_at), (STRTAB, strings_at), (SYMTAB, symbols_at)]
    entries += [(STRSZ, len(strings)), (SYMENT, symbol_size), (0, 0)]
    dynamic = b"".join(struct.pack(f"{order}2{word}", tag, value) for tag, value in entries)
    size = dynamic_at + len(dynamic) + len(padding)

    def segment(kind: int, permissions: int, at: int, length: int, align: int) -> bytes:
        if bits == 64:
            return struct.pack(f"{order}2I6Q", kind, permissions, at, at, at, length, length, align)
        return struct.pack(f"{order}8I", kind, at, at, at, length, length, permissions, align)

    identity = bytes([0x7F, *b"ELF", bits // 32, "<>".index(order) + 1, 1]).ljust(16, b"\0")
    header = identity + struct.pack(
        f"{order}2HI3{word}I6H", 3, machine, 1, 0, header_size, 0, flags, header_size, segment_size, 3, 0, 0, 0
    )
    segments = segment(LOAD, 6, 0, size, PAGE) + segment(DYNAMIC, 6, dynamic_at, len(dynamic), 8)
    content = bytearray(header + segments + segment(STACK, 6, 0, 0, 16))
    for at, part in ((strings_at, strings), (symbols_at, bytes(symbol_size)), (hash_at, table), (dynamic_at, dynamic)):
        content += bytes(at - len(content)) + part
    return bytes(content) + padding
