"""Files, written so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
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
    except OSError as error:
        raise Unreachable("io.failed", f"cannot write {path.name!r}", found=error.strerror or str(error)) from error


def sync_directory(directory: Path) -> None:
    """Make renames inside ``directory`` durable (``fsync`` of the directory itself)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_capped(path: Path, limit: int, what: str) -> bytes:
    """Read a whole regular file of at most ``limit`` bytes, in one go.

    Raises:
        UsageError: ``io.failed`` when it cannot be read, ``format.too-large`` when it is longer.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise UsageError(
            "io.failed", f"cannot read {what} {path.name!r}", found=error.strerror or str(error)
        ) from error
    if len(data) > limit:
        raise UsageError("format.too-large", f"{what} is too large", expected=f"at most {limit} bytes")
    return data
