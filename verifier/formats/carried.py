"""The carried copy: a public tree as one file, for hosts without a network (docs/spec/carried.md).

A tar archive of one form only: what a reader accepts is byte for byte what :func:`dump_header` writes. Nothing in it is
signed for itself; whoever reads it verifies what it holds as if a server had handed it out.
"""

from __future__ import annotations

import re
import tarfile

from verifier.errors import Refused

BLOCK = tarfile.BLOCKSIZE
"""Bytes of a header; every file is padded with zeros to a multiple of it."""
END = bytes(2 * BLOCK)
"""What an archive ends with."""
MAX_FILES = 1_000_000
"""How many files a carried copy may hold."""
MAX_FILE = 512 * 1024 * 1024
"""Size cap of one file in bytes: that of a base."""

_NAME = re.compile(r"(?=.{1,200}\Z)[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*){0,4}", re.ASCII)


def is_name(name: str) -> bool:
    """Whether files of a public tree may be called so: no file outside of it ever is."""
    return _NAME.fullmatch(name) is not None


def dump_header(name: str, size: int) -> bytes:
    """Write the header of a file: POSIX ustar, mode 0644, of nobody, of the beginning of time."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def parse_header(block: bytes) -> tuple[str, int]:
    """Read the header of a file: its name and size; the inverse of :func:`dump_header`.

    Raises:
        Refused: ``copy.damaged``.
    """
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        name, size = member.name, member.size
        good = is_name(name) and 0 <= size <= MAX_FILE and dump_header(name, size) == block
    except (tarfile.TarError, ValueError) as error:
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
