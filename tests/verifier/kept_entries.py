"""What a private cache holds of one thing, and what an attacker without its key can make of that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

OPEN_MODES = (0o755, 0o770)
"""Modes of a cache that others may enter."""


def entries_of(place: Path) -> list[Path]:
    """The entries of a cache."""
    return [path for path in place.iterdir() if path.name != "key"]


def entry_of(place: Path) -> Path:
    """The one entry of a cache."""
    [entry] = entries_of(place)
    return entry


def flip(entry: Path) -> None:
    """Change a bit near the end."""
    content = bytearray(entry.read_bytes())
    content[-3] ^= 1
    entry.write_bytes(content)


def exchange(entry: Path, keep_another: Callable[[Path], object]) -> None:
    """Put under an entry's name what the same cache has kept of something else."""
    before = entries_of(entry.parent)
    keep_another(entry.parent)
    [other] = [path for path in entries_of(entry.parent) if path not in before]
    other.replace(entry)


POISONS: dict[str, Callable[[Path], object]] = {
    "a bit changed": flip,
    "cut short": lambda entry: os.truncate(entry, 40),
    "tagged under another key": lambda entry: entry.write_bytes(bytes(32) + entry.read_bytes()[32:]),
}
