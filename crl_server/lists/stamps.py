"""Whether files are still the ones that were read: what was verified once need not be verified again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int, int]
"""What changes about a file when somebody replaces or edits it: its number, size, and times of writing and change."""


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file of this status."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp(path: str | Path) -> Stamp | None:
    """The stamp of the file that a path leads to; None where there is none."""
    try:
        return stamp_of(os.stat(path))
    except OSError:
        return None


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp | None]:
    """The stamps of several files."""
    return {path: stamp(path) for path in paths}
