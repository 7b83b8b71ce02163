"""Installed mode: a wheel that pip or uv has unpacked, each file held against the attested RECORD when it is used.

``docs/spec/installed.md`` gives the rules. Nothing that lies in the site directory is believed: which files there are,
and what is in them, the wheel's own RECORD says, which the signed manifest pins. The RECORD beside the files is not
read, since installers write it anew, and neither is any ``.pyc``. A file is opened below one descriptor of the
directory, part by part, never through a link; the very bytes that were hashed are what is compiled, loaded or handed
out, so that a change in between changes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from verifier.errors import Refused
from verifier.files import anchored
from verifier.private_cache import write_all
from verifier.private_directory import Used
from verifier.wheels.record import Entry, parse_record
from verifier.wheels.snapshot import Files, Snapshot
from verifier.wheels.wheel import describe, dist_info_of
from verifier.wheels.wheel_paths import Tree, check_path, shown

_CHUNK: Final = 1 << 20  # bytes of a large file in memory at a time
_POSIX: Final = os.name == "posix"
_FOLLOW_NOTHING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK if _POSIX else 0
_REINSTALL: Final = "Find out who changed it, and install the wheel again ('pip install --force-reinstall --no-deps')."
_COPY: Final = "Install with copies of the files: no symlinks ('uv pip install --link-mode copy')."


class InstalledFiles(Files):
    """The files of an unpacked wheel, each read and hashed when it is asked for.

    Args:
        root: the directory that it was unpacked into.
        record: the bytes of the attested RECORD.
        dist_info: the directory that RECORD is of.

    Raises:
        Refused: ``wheel.record``, ``wheel.path``, ``wheel.collision``; ``installed.missing``.
    """

    def __init__(self, root: str, record: bytes, dist_info: str) -> None:
        self._entries = parse_record(record, dist_info)
        self._record = f"{dist_info}/RECORD"
        self._record_bytes = record
        self._paths = dict.fromkeys((*self._entries, self._record))
        tree = Tree()
        for path in self._paths:
            check_path(path)
            tree.add(path, directory=False)
        if not _POSIX:
            raise Refused("wheel.unsupported", "what is installed can be verified on POSIX systems only")
        self._root = anchored(Path(root))

    def __getitem__(self, path: str) -> bytes:
        if path == self._record:
            return self._record_bytes
        return self._verified(path, self._entries[path])[0]

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def sha256(self, path: str) -> bytes:
        """The sha256 of a file, which is read for it."""
        if path == self._record:
            return hashlib.sha256(self._record_bytes).digest()
        entry = self._entries[path]
        content, found = self._verified(path, entry)
        digest: bytes = found.digest() if entry.algorithm == "sha256" else hashlib.sha256(content).digest()
        return digest

    def pour(self, path: str, descriptor: int, used: Used | None = None) -> None:
        """Write a file's content to an empty file, all of it; the file is of no use if this raises.

        Raises:
            Refused: ``installed.changed`` and the like.
            OSError: the file cannot be written.
        """
        if path == self._record:
            write_all(descriptor, self._record_bytes)
            return
        entry = self._entries[path]
        source, found, size = self._open(path), entry.new(), 0
        try:
            while chunk := os.read(source, _CHUNK):
                size += len(chunk)
                if size > entry.size:
                    break
                found.update(chunk)
                write_all(descriptor, chunk)
        finally:
            os.close(source)
        if size != entry.size or entry.state(found.digest()) != entry.stated:
            raise _changed(path)

    def names(self, directory: str) -> Iterator[os.DirEntry[str]]:
        """What lies in a directory of the wheel, as the system lists it.

        Raises:
            Refused: ``installed.missing``, ``installed.link``.
        """
        descriptor = self._open(directory or ".", os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as listing:
                yield from listing
        finally:
            os.close(descriptor)

    def _verified(self, path: str, entry: Entry) -> tuple[bytes, Any]:
        """The content of a file and its hash, taken from these very bytes."""
        descriptor = self._open(path)
        try:
            content = _read_whole(descriptor, entry.size + 1)
        finally:
            os.close(descriptor)
        found = entry.new(content)
        if len(content) != entry.size or entry.state(found.digest()) != entry.stated:
            raise _changed(path)
        return content, found

    def _open(self, path: str, flags: int = 0) -> int:
        """A descriptor of a regular file or directory below the root, opened part by part, never through a link."""
        *parents, leaf = path.split("/")
        descriptor = -1
        try:
            # By its path each time: a host that becomes a daemon closes descriptors, and what is found is hashed.
            above = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for parent in parents:
                    below = os.open(parent, _FOLLOW_NOTHING | os.O_DIRECTORY, dir_fd=above)
                    os.close(above)
                    above = below
                descriptor = os.open(leaf, _FOLLOW_NOTHING | flags, dir_fd=above)
            finally:
                os.close(above)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not flags and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Refused("installed.link", f"{shown(path)} is no regular file", todo=_REINSTALL)
        return descriptor


def read_installed(root: str, record: bytes, dist_info: str, file_name: str, digest: str) -> Snapshot:
    """What an installer has unpacked, as the wheel that it was: a snapshot whose files are read when they are used.

    Args:
        root: the directory that it was unpacked into.
        record: the wheel's RECORD; the caller has compared its sha256 with the one that is attested.
        dist_info: the directory that RECORD is of.
        file_name: the wheel's file name.
        digest: "sha256:<64 hex>" of the wheel.

    Raises:
        Refused: a ``wheel.*`` or ``installed.*`` code.
    """
    files = InstalledFiles(root, record, dist_info)
    return replace(describe(files, dist_info_of(files), file_name, digest), unpacked_at=os.path.realpath(root))


def check_all(files: Mapping[str, bytes]) -> int:
    """Read every file, and return how many bytes they have.

    Raises:
        Refused: ``installed.missing``, ``installed.link``, ``installed.changed``.
    """
    return sum(len(files[path]) for path in files)


def _read_whole(descriptor: int, limit: int) -> bytes:
    """A whole file, of which no more is read than the limit."""
    content = os.read(descriptor, limit)
    while content and len(content) < limit:
        more = os.read(descriptor, limit - len(content))
        if not more:
            break
        content += more
    return content


def _changed(path: str) -> Refused:
    return Refused(
        "installed.changed",
        f"{shown(path)} is not the file that was attested",
        expected="the size and hash that the wheel's RECORD states",
        todo=_REINSTALL,
    )


def _unreadable(path: str, error: OSError) -> Refused:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
        return Refused("installed.link", f"{shown(path)} is a link, or lies behind one", todo=_COPY)
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.EISDIR):
        return Refused("installed.missing", f"{shown(path)} is not there", todo=_REINSTALL)
    return Refused("installed.missing", f"{shown(path)} cannot be read", found=error.strerror or "", todo=_REINSTALL)
