"""The carried copy: a public tree as one file, for hosts without a network (docs/spec/carried.md).

A tar archive of one form only: what a reader accepts is byte for byte what :func:`dump_header` writes. Nothing in it is
signed for itself; whoever reads it verifies what it holds as if a server had handed it out.
"""

from __future__ import annotations

import re
import struct

from verifier.errors import Refused

BLOCK = 512
"""Bytes of a header; every file is padded with zeros to a multiple of it."""
END = bytes(2 * BLOCK)
"""What an archive ends with."""
MAX_FILES = 1_000_000
"""How many files a carried copy may hold."""
MAX_FILE = 512 * 1024 * 1024
"""Size cap of one file in bytes: that of a base."""
MAX_NAME = 200
"""How many characters a file's name may have."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*){0,4}", re.ASCII)
# name, mode, uid, gid, size, mtime, checksum, type, linkname, magic, version, uname, gname, devmajor, devminor, prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_NOBODY = (b"0000644\0", b"0000000\0", b"0000000\0")
_NO_TIME = b"%011o\0" % 0
_NO_DEVICE = b"0000000\0"


def is_name(name: str) -> bool:
    """Whether files of a public tree may be called so, and a ustar header can say it: none leads out of the tree."""
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None and _split(name) is not None


def dump_header(name: str, size: int) -> bytes:
    """Write the header of a file: POSIX ustar, mode 0644, of nobody, of the beginning of time.

    Raises:
        ValueError: for what is no name.
    """
    if not is_name(name) or (parts := _split(name)) is None:
        raise ValueError(f"no name of a file of a public tree: {name!a}")
    prefix, rest = parts
    fields = (rest, *_NOBODY, b"%011o\0" % size, _NO_TIME)
    behind = (b"0", b"", b"ustar\0", b"00", b"", b"", _NO_DEVICE, _NO_DEVICE, prefix)
    total = sum(_HEADER.pack(*fields, b" " * 8, *behind))
    return _HEADER.pack(*fields, b"%06o\0 " % total, *behind)


def parse_header(block: bytes) -> tuple[str, int]:
    """Read the header of a file: its name and size; the inverse of :func:`dump_header`.

    Raises:
        Refused: ``copy.damaged``.
    """
    try:
        rest, *_, prefix = _HEADER.unpack(block)
        name = "/".join(part.rstrip(b"\0").decode("ascii") for part in (prefix, rest) if part.rstrip(b"\0"))
        size = int(block[124:135], 8)
        good = size <= MAX_FILE and dump_header(name, size) == block
    except (struct.error, ValueError) as error:
        raise damaged(f"a header that cannot be read: {str(error)[:100]!a}") from None
    if not good:
        raise damaged(f"a header of another form: {name[:100]!a}")
    return name, size


def padding(size: int) -> int:
    """How many zeros follow a file of that size."""
    return -size % BLOCK


def damaged(found: str) -> Refused:
    """The refusal of a copy that is not whole, or not of the one form."""
    return Refused("copy.damaged", "the carried copy is not usable", found=found)


def _split(name: str) -> tuple[bytes, bytes] | None:
    """A name in the two fields of a header: whole in the second if it fits, else cut at the first slash that does."""
    parts = name.encode("ascii", "replace").split(b"/")
    for at in range(len(parts)):
        prefix, rest = b"/".join(parts[:at]), b"/".join(parts[at:])
        if len(rest) <= 100 and len(prefix) <= 155:
            return prefix, rest
    return None
