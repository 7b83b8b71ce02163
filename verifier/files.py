"""Files, written so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from verifier.errors import Unreachable, UsageError

_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CHUNK: Final = 64 << 10


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to a temporary name beside ``path``, sync it, and rename it into place.

    Raises:
        Unreachable: ``io.failed``; what was at ``path`` before is still there.
    """
    write_together({path: data}, mode)


def write_together(files: Mapping[Path, bytes], mode: int = 0o644) -> None:
    """Write files of which none is of use without the others: all to temporary names, and only then into place.

    A disk that fills up, or a name that cannot be written, is met before anything has changed.

    Raises:
        Unreachable: ``io.failed``; what was there before still is.
    """
    staged: dict[Path, str] = {}
    try:
        for path, data in files.items():
            _stage(path, data, mode, staged)
        for path in files:
            with _failing(path):
                os.replace(staged[path], path)
                del staged[path]
        for parent in dict.fromkeys(path.parent for path in files):
            with _failing(parent):
                sync_directory(parent)
    finally:
        for temporary in staged.values():
            os.unlink(temporary)


def _stage(path: Path, data: bytes, mode: int, staged: dict[Path, str]) -> None:
    """Write the content of ``path`` under a temporary name beside it."""
    import tempfile  # which brings shutil and random: whoever reads does not wait for it

    with _failing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        descriptor, staged[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if hasattr(os, "fchmod"):
                os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Errors of the system as ours."""
    try:
        yield
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        raise Unreachable("io.failed", f"cannot write {path.name!r}", found=_reason(error)) from error


def sync_directory(directory: Path) -> None:
    """Make renames inside ``directory`` durable (``fsync`` of the directory itself)."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # not a POSIX system: directories cannot be opened there
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_at_once(path: Path | str, flags: int) -> int:
    return os.open(
        path, flags | getattr(os, "O_NONBLOCK", 0)
    )  # a named pipe would otherwise be waited for until somebody writes


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def anchored(path: Path) -> Path:
    """The same path, in full: a host that becomes a daemon leaves the directory that it was relative to."""
    try:
        return path.absolute()
    except OSError:  # that directory was removed: nothing lies there
        return path


def map_capped(path: Path, limit: int, what: str) -> mmap.mmap:
    """Map a whole regular file of at most ``limit`` bytes, and of at least one, for reading.

    Only for files that are replaced and never written in place: where one is cut short, whoever reads beyond its end is
    killed by the system.

    Raises:
        UsageError: as :func:`read_capped`; ``io.failed`` for an empty file too.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError("not a regular file")
            if found.st_size <= limit:
                return mmap.mmap(stream.fileno(), found.st_size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UsageError("io.failed", f"cannot read {what} {path.name!r}", found=_reason(error)) from error
    raise UsageError("format.too-large", f"{what} is too large", expected=f"at most {limit} bytes")


def read_capped(path: Path, limit: int, what: str) -> bytes:
    """Read a whole regular file of at most ``limit`` bytes, in one go.

    Raises:
        UsageError: ``io.failed`` when it cannot be read or is no regular file, ``format.too-large`` when it is longer.
    """
    try:
        descriptor = _open_at_once(path, _READ)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError("not a regular file")
            data = os.read(descriptor, min(found.st_size, limit) + 1)
            while len(data) not in (found.st_size, limit + 1):  # it grows, or the system gives less at once
                more = os.read(descriptor, min(limit + 1 - len(data), max(len(data), _CHUNK)))
                if not more:
                    break
                data += more
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        raise UsageError("io.failed", f"cannot read {what} {path.name!r}", found=_reason(error)) from error
    if len(data) > limit:
        raise UsageError("format.too-large", f"{what} is too large", expected=f"at most {limit} bytes")
    return data
