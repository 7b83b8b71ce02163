"""What a private cache holds of one thing, and what an attacker without its key can make of that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from verifier import private_cache
from verifier.private_cache import PrivateCache

VALUE, EVIL = b"verified" * 9, b"evil" * 18
PARTS = ("sample", b"one", b"two")
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


def filled(directory: Path) -> Path:
    """A cache that holds one value; the path of its entry."""
    cache = PrivateCache(directory)
    cache.store(VALUE, *PARTS)
    assert cache.load(*PARTS) == VALUE
    return entry_of(directory)


def exchange_for_link(key: Path) -> None:
    key.rename(key.with_name("elsewhere"))
    key.symlink_to("elsewhere")


def exchange_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def exchange_for_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


ENTRIES: dict[str, Callable[[Path], object]] = {
    "exchanged, its tag kept": lambda entry: entry.write_bytes(entry.read_bytes()[:32] + EVIL),
    "cut short": lambda entry: os.truncate(entry, entry.stat().st_size - 1),
    "cut within its tag": lambda entry: os.truncate(entry, 20),
    "empty": lambda entry: os.truncate(entry, 0),
    "its tag alone": lambda entry: os.truncate(entry, 32),
    "appended to": lambda entry: entry.write_bytes(entry.read_bytes() + b"\0"),
    "larger than the cap": lambda entry: os.truncate(entry, private_cache.MAX_VALUE + 33),
    "a link to what is authentic": exchange_for_link,
    "a pipe": exchange_for_pipe,
}
