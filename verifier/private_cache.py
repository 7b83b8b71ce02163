"""A private directory in which a process leaves values to later ones, each authenticated before it is used.

``docs/adr/0008-code-cache.md`` says why. The directory holds a random key and, for each value, one file:

    name     sha256 over what the value depends on
    content  HMAC-SHA256(key, name ‖ sha256(value)) ‖ value

The order of work: (1) the directory is a private one of ours, (2) so is the key, (3) a file is of sane size, (4) its
HMAC holds for its name. Where (1) or (2) fails, nothing is read or written for the life of the process, and the log
says so once; where a later one fails, the value counts as missing and is replaced. A cache can so be slow, but not
wrong. It protects against other users of the machine; whoever can read the key can also change the host itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import struct
import threading
import weakref
from pathlib import Path
from typing import Final

from verifier import private_directory
from verifier.private_directory import (
    MAX_VALUE,
    TAG_BYTES,
    Unsafe,
    Used,
    change_of,
    empty,
    identity_of,
    is_settled,
    leave_only,
    make_key,
    open_directory,
    open_value,
    read_key,
    read_raw,
    read_value,
    send,
    value_name,
    write_all,
)

__all__ = ["MAX_TOTAL", "MAX_VALUE", "PrivateCache", "write_all"]

MAX_TOTAL: Final = 512 << 20
"""Bytes of all values; past it the oldest are removed until a quarter is free."""

_CHUNK: Final = 256 << 10  # bytes of a large value that are in memory at a time
_SPAN: Final = struct.Struct("<QQ")
_UNCHANGED: Final = "unchanged"  # the kind of what says that a file was authentic when it was last changed

logger = logging.getLogger(__name__)


class PrivateCache:
    """A directory of authenticated values. Safe between threads, processes and forks; never raises when it fails.

    Args:
        directory: made with mode 0700 if it is missing; used only if it is a directory of this user, not a link, that
            nobody else may enter.
        max_total: bytes of all values.
    """

    def __init__(self, directory: Path | str, *, max_total: int = MAX_TOTAL) -> None:
        self._max_total = max_total
        self._total: int | None = None
        self._counting = threading.Lock()
        self._key = b""
        self._stores = False
        self._tells: bool | None = None
        self._directory = -1
        try:
            self._directory = open_directory(os.fspath(directory))
            self._identity = identity_of(self._directory)
            self._key = read_key(self._directory) or make_key(self._directory)
            self._stores = True
        except (OSError, Unsafe) as error:
            logger.warning("the cache is not used: %s", error)
            if self._directory >= 0:
                os.close(self._directory)
        else:
            _HELD[self._directory] = self._identity
            weakref.finalize(self, _let_go, self._directory, self._identity).atexit = False  # threads may still ask

    @property
    def usable(self) -> bool:
        """Whether anything is read; False once the directory or the key were found wrong."""
        return bool(self._key)

    def load(self, kind: str, *parts: bytes) -> bytes | None:
        """The value that was stored under exactly this kind and these parts; None if there is none that is authentic.

        Args:
            kind: of value, so that those of different uses never meet.
            parts: all that the value depends on.
        """
        if not self._is_open():
            return None
        name = value_name(kind, parts)
        try:
            tag, value = read_value(self._directory, name.hex())
        except (OSError, Unsafe):
            return None  # absent, or nothing that this class wrote: storing replaces it
        return value if hmac.compare_digest(self.tag(name, hashlib.sha256(value).digest()), tag) else None

    def pour(self, descriptor: int, kind: str, *parts: bytes, used: Used | None = None) -> bool:
        """Write a value to a file, as :meth:`load` would give it back; a large one is never in memory twice.

        A value that was found authentic before, in a file that the system says was not changed since, is copied and not
        authenticated again: hashing takes longer than all else about it. That the file had not changed is asked again
        after it was copied. What is copied must not be changed by whom can read the key; see decision record 0035.

        Args:
            descriptor: of an empty file that nobody else uses yet.
            kind: as for :meth:`load`.
            parts: as for :meth:`load`.
            used: which parts of the value are wanted; the rest is zeros then. What it tells is kept with the record
                that the value was authentic.

        Returns:
            Whether the file holds the value. If not, there is none that is authentic, and the file is empty again.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._is_open():
            return False
        name = value_name(kind, parts)
        try:
            source, size = open_value(self._directory, name.hex())
        except (OSError, Unsafe):
            return False  # as for load
        try:
            before = change_of(source)
            record = (_UNCHANGED, name, before, used.rule if used else b"")
            known = self.load(*record)
            if known is not None:
                send(source, descriptor, TAG_BYTES, size, _SPAN.iter_unpack(known))
                if change_of(source) == before:
                    return True
                empty(descriptor)  # it was changed in this very moment
            if not self._copy(source, descriptor, name):
                empty(descriptor)
                return False
            spans = used.spans(descriptor) if used else ((0, size),)
            leave_only(descriptor, size, spans)
            if self._tells_of_changes() and is_settled(source) and change_of(source) == before:
                self.store(b"".join(_SPAN.pack(*span) for span in spans), *record)
            return True
        finally:
            os.close(source)

    def _copy(self, source: int, target: int, name: bytes) -> bool:
        """Copy a value, and say whether what was copied is authentic."""
        digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
        os.lseek(source, 0, os.SEEK_SET)
        tag = os.read(source, TAG_BYTES)
        while length := os.readv(source, [chunk]):
            digest.update(chunk[:length])
            write_all(target, chunk[:length])
        return hmac.compare_digest(self.tag(name, digest.digest()), tag)

    def _tells_of_changes(self) -> bool:
        """Whether a file of this directory that was changed cannot look as if it had not been."""
        if self._tells is None:
            try:
                self._tells = private_directory.tells_of_changes(self._directory)
            except OSError:
                self._tells = False
        return self._tells

    def store(self, value: bytes, kind: str, *parts: bytes) -> None:
        """Keep a value, in place of what may be there under its kind and parts."""
        if not self._stores or len(value) > MAX_VALUE or not self._is_open():
            return
        name = value_name(kind, parts)
        try:
            private_directory.replace(
                self._directory, name.hex(), self.tag(name, hashlib.sha256(value).digest()), value
            )
            self._make_room(len(value) + TAG_BYTES)
        except OSError as error:
            self._stops_storing(error)

    def raw(self, name: bytes) -> bytes:
        """All that lies under a name, which nobody has authenticated yet; for :mod:`verifier.shelves`."""
        if not self._is_open():
            return b""
        try:
            return read_raw(self._directory, name.hex())
        except (OSError, Unsafe):
            return b""

    def size_of(self, name: bytes) -> int:
        """How many bytes lie under a name; none where there is no such file."""
        try:
            return os.stat(name.hex(), dir_fd=self._directory, follow_symlinks=False).st_size if self._is_open() else 0
        except OSError:
            return 0

    def append(self, name: bytes, content: bytes, *, anew: bool) -> None:
        """Write something to the end of what lies under a name, or in its place; for :mod:`verifier.shelves`.

        Args:
            name: of the file.
            content: what to write.
            anew: whether what lies there is of no use. What cannot be written to, or has grown past the cap, is none.
        """
        if not self._stores or len(content) > MAX_VALUE or not self._is_open():
            return
        try:
            if anew or not private_directory.append(self._directory, name.hex(), content):
                private_directory.replace(self._directory, name.hex(), content)
            self._make_room(len(content))
        except OSError as error:
            self._stops_storing(error)

    def _stops_storing(self, error: OSError) -> None:
        self._stores = False
        logger.warning("nothing more is stored in the cache: %s", error)

    def _is_open(self) -> bool:
        """Whether the descriptor is still the directory's: a host that becomes a daemon closes all it can count to."""
        if self._key and identity_of(self._directory) != self._identity:
            self._key = b""
            logger.warning("the cache is no longer used: its directory was closed from outside")
        return bool(self._key)

    def tag(self, name: bytes, digest: bytes) -> bytes:
        """What shows that whoever wrote something of this name and sha256 had the key."""
        return hmac.digest(self._key, name + digest, "sha256")

    def _make_room(self, added: int) -> None:
        """Count what was added; past the cap, remove the oldest entries. Another process may be doing the same."""
        if not self._counting.acquire(blocking=False):
            return  # another thread is at it; or was when this process forked, which then leaves it to others
        try:
            if self._total is not None and self._total + added <= self._max_total:
                self._total += added
                return
            kept = sorted(private_directory.entries(self._directory))
            self._total = sum(size for _, size, _ in kept)
            enough = self._total if self._total <= self._max_total else self._max_total * 3 // 4
            for _, size, name in kept:
                if self._total <= enough:
                    return
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._directory)
                self._total -= size
        finally:
            self._counting.release()


def _let_go(descriptor: int, identity: tuple[int, int] | None) -> None:
    """Close a directory, unless its number was closed from outside and stands for something else by now."""
    if _HELD.get(descriptor) is identity:  # else for another cache, perhaps in the same directory
        del _HELD[descriptor]
        if identity_of(descriptor) == identity:
            os.close(descriptor)


_HELD: Final[dict[int, tuple[int, int] | None]] = {}  # the directory of whoever opened that number last
