"""Source archives → directories: nothing absolute, escaping, special, repeated or larger than the caps."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO

from verifier.errors import Refused

#: How far a source archive may unpack, in bytes and in entries.
MAX_TREE_BYTES = 500_000_000
MAX_TREE_ENTRIES = 50_000

#: What tarfile raises for archives that are not right: its own errors, and what gets past it from underneath.
_MALFORMED = (tarfile.TarError, OSError, ValueError, OverflowError)


def gunzip(data: bytes) -> IO[bytes]:
    """The unpacked archive as a temporary file, under the cap before any of it is interpreted.

    Raises:
        Refused: ``source.archive``.
    """
    unpacked = TemporaryFile()  # noqa: SIM115 - handed to the caller, who closes it
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while chunk := stream.read(1 << 20):
                if unpacked.tell() + len(chunk) > MAX_TREE_BYTES:
                    raise _too_much()
                unpacked.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        unpacked.close()
        raise Refused("source.archive", "the sdist is not a gzip file", found=str(error)) from error
    except BaseException:
        unpacked.close()
        raise
    unpacked.seek(0)
    return unpacked


def only_directory(into: Path) -> Path:
    """The one directory that an sdist unpacks to.

    Raises:
        Refused: ``source.archive``.
    """
    entries = sorted(into.iterdir())
    if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
        raise Refused(
            "source.archive", "the sdist must hold exactly one directory", found=f"{len(entries)} entries at its top"
        )
    return entries[0]


def read_members(stream: IO[bytes]) -> list[tarfile.TarInfo]:
    """The entries of a tar archive, in its order.

    Raises:
        Refused: ``source.archive``.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
            members: list[tarfile.TarInfo] = []
            for member in archive:
                members.append(member)
                if len(members) > MAX_TREE_ENTRIES:
                    raise _too_much()
            return members
    except _MALFORMED as error:
        raise Refused("source.archive", "the source archive is malformed", found=str(error)) from error


def unpack(stream: IO[bytes], into: Path) -> None:
    """Extract a tar archive into an empty directory.

    Raises:
        Refused: ``source.archive``: malformed, absolute, escaping, special, repeated, or more than the caps.
    """
    members = read_members(stream)
    if sum(member.size for member in members) > MAX_TREE_BYTES:
        raise _too_much()  # sparse members may claim more than the archive holds
    _refuse_repeated(members)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
            archive.extractall(into, filter=_plain)  # noqa: S202 - the filter is the stricter one that it asks for
    except _MALFORMED as error:
        raise Refused("source.archive", "the source archive cannot be unpacked", found=str(error)) from error


def _plain(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """The ``data`` filter of tarfile (PEP 706), and no times: any number can stand there, and :func:`fix` sets them."""
    return tarfile.data_filter(member, path).replace(mtime=0, deep=False)


def _refuse_repeated(members: list[tarfile.TarInfo]) -> None:
    seen: set[str] = set()
    for member in members:
        name = str(PurePosixPath(member.name))
        if name in seen and not member.isdir():
            raise Refused("source.archive", "the source archive holds a file twice", found=repr(name))
        seen.add(name)


def _too_much() -> Refused:
    return Refused(
        "source.archive",
        "the source unpacks to more than the cap",
        expected=f"at most {MAX_TREE_BYTES} bytes in {MAX_TREE_ENTRIES} entries",
    )


def fix(root: Path, epoch: int) -> None:
    """Modes 644 and 755, one time for all: a build must not depend on who unpacked, or when."""
    for directory, directories, files in os.walk(root, topdown=False):
        for name in (*files, *directories):
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            os.utime(path, (epoch, epoch), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (epoch, epoch))
