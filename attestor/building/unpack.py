"""Source archives → directories: nothing absolute, escaping, special, repeated or larger than the caps.

The extraction is our own, in the order of the archive. tarfile's is not used: its filters do not exist in the first
releases of Python 3.11, and later ones were got past through links. Two rules keep everything inside:

1. Whatever is placed, is placed in directories that were made here, never through a link.
2. A symbolic link's target is relative and climbs (``..``) at its beginning alone, no higher than the tree's top; from
   there it only descends. So wherever a link leads, it leads to the tree, also when links lead to links.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

from verifier.errors import Refused
from verifier.formats.strict_json import quoted

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
            return list(_members(archive))
    except _MALFORMED as error:
        raise Refused("source.archive", "the source archive is malformed", found=quoted(str(error))) from error


def unpack(stream: IO[bytes], into: Path) -> None:
    """Extract a tar archive into an empty directory.

    Raises:
        Refused: ``source.archive``: malformed, absolute, escaping, special, repeated, or more than the caps.
    """
    members = read_members(stream)
    if sum(member.size for member in members) > MAX_TREE_BYTES:
        raise _too_much()  # sparse members may claim more than the archive holds
    tree = _Tree(into)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
            for member in _members(archive):
                tree.place(member, archive)
    except _MALFORMED as error:
        raise Refused("source.archive", "the source archive cannot be unpacked", found=quoted(str(error))) from error


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(archive, start=1):
        if count > MAX_TREE_ENTRIES:
            raise _too_much()
        if member.size < 0:
            raise _refusal(member, "has a size below nothing")
        yield member


class _Tree:
    """A directory into which the members of one archive are placed, one after the other.

    Args:
        root: an empty directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        #: What was placed, by the parts of its path.
        self._placed: dict[tuple[str, ...], Literal["directory", "file", "link"]] = {(): "directory"}

    def place(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Place one member.

        Raises:
            Refused: ``source.archive``.
            OSError: the file system does not take it.
        """
        parts = _parts(member, member.name)
        if member.isdir():
            self._make_directories(member, parts)
            return
        if parts in self._placed:
            raise _refusal(member, "stands there twice")
        self._make_directories(member, parts[:-1])
        path = self._root.joinpath(*parts)
        if member.isreg():
            _write(path, member, archive)
        elif member.issym():
            _check_target(member, parts)
            os.symlink(member.linkname, path)
        elif member.islnk():
            target = _parts(member, member.linkname)
            if self._placed.get(target) != "file":
                raise _refusal(member, "is a hard link to no file before it")
            os.link(self._root.joinpath(*target), path, follow_symlinks=False)
        else:
            raise _refusal(member, "is neither file, directory nor link")
        self._placed[parts] = "link" if member.issym() else "file"

    def _make_directories(self, member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
        for length in range(1, len(parts) + 1):
            directory = parts[:length]
            there = self._placed.get(directory)
            if there is None:
                os.mkdir(self._root.joinpath(*directory))
                self._placed[directory] = "directory"
            elif there != "directory":
                raise _refusal(member, "would replace what is no directory, or lie below it")


def _parts(member: tarfile.TarInfo, name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if name.startswith("/") or ".." in parts:
        raise _refusal(member, "is not inside the tree")
    return parts


def _check_target(member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
    target = [part for part in member.linkname.split("/") if part not in {"", "."}]
    climbs = len(list(takewhile("..".__eq__, target)))
    if member.linkname.startswith("/") or climbs >= len(parts) or ".." in target[climbs:]:
        raise _refusal(member, "is a link out of the tree, or on a way that cannot be followed")


def _write(path: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise _refusal(member, "has no content")
    with content, open(path, "xb") as stream:
        shutil.copyfileobj(content, stream)
        os.fchmod(stream.fileno(), 0o755 if member.mode & 0o100 else 0o644)


def _refusal(member: tarfile.TarInfo, fault: str) -> Refused:
    return Refused("source.archive", f"an entry of the source archive {fault}", found=quoted(repr(member.name)))


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
