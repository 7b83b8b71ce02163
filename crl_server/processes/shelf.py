"""The small public files that hosts ask for again and again, held in memory with their answers.

What is held is shown only while the file is the one that was read: each question looks at the file's status, so that
a head is served from the moment it lies in its place, whoever put it there. A file that changes under its name is held
open, too: as long as it is, no other file can be given its number, and "the same number, size and time" means the same
file. Whatever is not held here (large files, those that few ask for, those that are not there, parts of files) is
answered by :class:`crl_server.api.static.StaticTree`, and what is held is answered in the same words. So is, the first
time, whatever never changes: it is held once it was found whole there.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Final, NamedTuple

from crl_server.lists.public_files import IMMUTABLE, PublicKind, file_headers, kind_of, tag_of
from crl_server.lists.stamps import Stamp, stamp_of
from crl_server.lists.wholeness import Wholeness

HELD: Final = ("lists/", "trust/", "enrolment.json")
"""How names of files begin that are held: attestation sets and the like are asked for once and not again."""
MAX_FILE: Final = 256 * 1024
"""How large, in bytes, a file may be that is held; bases, which may have megabytes, are read from disk each time."""
MAX_TOTAL: Final = 16 * 1024 * 1024
"""How many bytes are held at a time; what was read first is let go first."""
REASONS: Final = {200: b"OK", 304: b"Not Modified"}


class Asked(NamedTuple):
    """A question for a public file.

    Attributes:
        name: below the tree's root, as it was asked for.
        bare: whether the content is not wanted (HEAD).
        tags: the entity tags that the asker has (:func:`crl_server.lists.public_files.tags_of`).
    """

    name: str
    bare: bool
    tags: frozenset[str]


class Answer(NamedTuple):
    """An answer, both in parts and as the wire has it, but for what differs from one request to the next.

    Attributes:
        status: 200 or 304.
        headers: names in lower case, and values.
        body: the content; empty for a bare answer.
        wire: status line and headers, each line ended, without the empty one.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    wire: bytes


class Held(NamedTuple):
    """A file with its three answers; ``descriptor`` is open where the file can be replaced, -1 elsewhere."""

    stamp: Stamp
    tag: str
    whole: Answer
    bare: Answer
    unchanged: Answer
    descriptor: int


class Shelf:
    """Holds files of one tree. For one thread, the event loop's: reading a file of this size takes it microseconds.

    Args:
        root: the deployment's ``public`` directory.
        wholeness: tells which of the files that never change are what they should be.
        largest: how large a file may be.
        total: how many bytes may be held.
    """

    def __init__(self, root: Path, wholeness: Wholeness, largest: int = MAX_FILE, total: int = MAX_TOTAL) -> None:
        self._root = f"{root}{os.sep}"
        self._wholeness = wholeness
        self._largest, self._room = largest, total
        self._held: dict[str, Held] = {}

    def answer(self, asked: Asked) -> Answer | None:
        """The answer to a question; None when somebody else has to give it."""
        held = self._find(asked.name)
        if held is None:
            return None
        if asked.tags and (held.tag in asked.tags or "*" in asked.tags):
            return held.unchanged
        return held.bare if asked.bare else held.whole

    def close(self) -> None:
        """Let go of everything."""
        for name in list(self._held):
            self._let_go(name)

    def _find(self, name: str) -> Held | None:
        held = self._held.get(name)
        if held is None and not (name.startswith(HELD) and kind_of(name)):
            return None
        try:
            stamp = stamp_of(os.lstat(self._root + name))
        except (OSError, ValueError):  # a ValueError: a name that no file can have
            stamp = None
        if held is not None:
            if held.stamp == stamp:
                return held
            self._let_go(name)
        return None if stamp is None else self._read(name, stamp)

    def _read(self, name: str, stamp: Stamp) -> Held | None:
        """Hold a file, if it is still the one that was looked at, and small enough."""
        kind = kind_of(name)
        fixed = kind is not None and kind.caching == IMMUTABLE
        if fixed and not self._wholeness.vouches(name, stamp):
            return None
        try:
            # A link is not followed, and a pipe is not waited for.
            descriptor = os.open(self._root + name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            usable = stat.S_ISREG(status.st_mode) and status.st_size <= self._largest and stamp_of(status) == stamp
            data = os.read(descriptor, self._largest + 1) if usable else b""
            if kind is None or not usable or len(data) != status.st_size:
                return None
            held = _held(name, kind, data, status, -1 if fixed else descriptor)
            if not fixed:
                descriptor = -1
        except OSError:
            return None
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        self._held[name] = held
        self._room -= len(data)
        while self._room < 0:
            self._let_go(next(iter(self._held)))
        return held

    def _let_go(self, name: str) -> None:
        held = self._held.pop(name)
        self._room += len(held.whole.body)
        if held.descriptor >= 0:
            with suppress(OSError):
                os.close(held.descriptor)


def _held(name: str, kind: PublicKind, data: bytes, status: os.stat_result, descriptor: int) -> Held:
    tag = tag_of(name, kind, data)
    common = {key.lower(): value for key, value in file_headers(tag, kind).items()}
    whole = common | {"content-length": str(len(data)), "content-type": kind.media_type}
    if kind.caching == IMMUTABLE:  # parts of these are served, though not from here
        whole |= {"accept-ranges": "bytes", "last-modified": formatdate(status.st_mtime, usegmt=True)}
    return Held(
        stamp_of(status),
        common["etag"],
        _answer(200, whole, data),
        _answer(200, whole, b""),
        _answer(304, common, b""),
        descriptor,
    )


def _answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())
    lines = b"".join(b"%s: %s\r\n" % pair for pair in pairs)
    return Answer(status, pairs, body, b"HTTP/1.1 %d %s\r\n%s" % (status, REASONS[status], lines))
