"""Whether files are still the ones that were read: what was verified once need not be verified again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, ...] | None]:
    """What changes about files when somebody replaces or edits them; None for one that is not there."""
    found: dict[Path, tuple[int, ...] | None] = {}
    for path in paths:
        try:
            status = path.stat()
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError:
            found[path] = None
    return found
