"""Files, written so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from verifier.errors import Unreachable, UsageError


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to a temporary name beside ``path``, sync it, and rename it into place.

    Raises:
        Unreachable: ``io.failed``; what was at ``path`` before is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        sync_directory(path.parent)
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        raise Unreachable("io.failed", f"cannot write {path.name!r}", found=_reason(error)) from error


def sync_directory(directory: Path) -> None:
    """Make renames inside ``directory`` durable (``fsync`` of the directory itself)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe would otherwise be waited for until somebody writes


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_capped(path: Path, limit: int, what: str) -> bytes:
    """Read a whole regular file of at most ``limit`` bytes, in one go.

    Raises:
        UsageError: ``io.failed`` when it cannot be read or is no regular file, ``format.too-large`` when it is longer.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OSError("not a regular file")
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        raise UsageError("io.failed", f"cannot read {what} {path.name!r}", found=_reason(error)) from error
    if len(data) > limit:
        raise UsageError("format.too-large", f"{what} is too large", expected=f"at most {limit} bytes")
    return data
