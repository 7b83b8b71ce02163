"""Reading a carried copy: a directory as ``loadlock export --to`` makes one, or one file of ``loadlock trust export``.

A copy answers as a server would, so that everything it holds goes through the same checks on the same way, the clock's
and those against rollback included. Here it is only kept from leading anywhere else: no link is followed, no name
leaves it, nothing but regular files is read, each under its cap.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verifier.errors import FormatError, Unreachable, UsageError
from verifier.formats.carried import BLOCK, END, MAX_FILES, damaged, is_name, padding, parse_header
from verifier.refreshing.source import Response, Source

ADDRESS = "file://copy"
"""What stands for a server's address where an address is asked for."""


@contextmanager
def copy_at(path: Path) -> Iterator[Source]:
    """Open a carried copy.

    Args:
        path: a directory, or a file.

    Raises:
        UsageError: ``io.failed`` when it cannot be opened.
        Refused: ``copy.damaged``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        found = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError("io.failed", f"cannot read the copy {path.name!r}", found=found) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            yield _Directory(descriptor)
        elif stat.S_ISREG(mode):
            yield _Archive(descriptor)
        else:
            raise UsageError("io.failed", f"cannot read the copy {path.name!r}", found="neither file nor directory")
    finally:
        os.close(descriptor)


class _Copy(ABC):
    """A :class:`Source` that reads files."""

    server = ADDRESS

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def request(self, path: str, limit: int, etag: str | None = None) -> Response:
        """As :meth:`Source.request`; a copy has no entity tags."""
        name = path.removeprefix("/")
        try:
            data = self._read(name, limit) if is_name(name) else None
        except OSError as error:
            raise Unreachable("io.failed", f"cannot read the copy's {name}", found=error.strerror or "") from error
        if data is None:
            return Response(404, b"", None)
        if len(data) > limit:
            raise FormatError("format.too-large", f"the copy's {name} is too large", expected=f"at most {limit} bytes")
        return Response(200, data, None)

    def get(self, path: str, limit: int, etag: str | None = None) -> Response:
        """As :meth:`Source.get`."""
        response = self.request(path, limit, etag)
        if response.status != 200:
            raise Unreachable(
                "unreachable.server", "the copy lacks a file", found=path,
                todo="Make the copy again with 'loadlock trust export' or 'loadlock export --to', and carry all of it.",
            )  # fmt: skip
        return response

    @abstractmethod
    def _read(self, name: str, limit: int) -> bytes | None:
        """The file's content, or one byte more than ``limit`` of it; None where there is none."""


class _Directory(_Copy):
    def _read(self, name: str, limit: int) -> bytes | None:
        *folders, last = name.split("/")
        opened: list[int] = []
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            inside = self._descriptor
            for folder in folders:
                inside = os.open(folder, flags | os.O_DIRECTORY, dir_fd=inside)
                opened.append(inside)
            with os.fdopen(os.open(last, flags, dir_fd=inside), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise damaged(f"{name} is no regular file")
                return stream.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):  # a link, or a file in a directory's place
                raise damaged(f"{name} is no regular file, or lies behind a link") from error
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)


class _Archive(_Copy):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._places = _index(descriptor)

    def _read(self, name: str, limit: int) -> bytes | None:
        if name not in self._places:
            return None
        place, size = self._places[name]
        data = _exactly(self._descriptor, min(size, limit + 1), place)
        if data is None:
            raise damaged(f"{name} ends too early")
        return data


def _index(descriptor: int) -> dict[str, tuple[int, int]]:
    """Where each file lies; every header is read, so that an archive that was cut short is refused before it is used.

    Raises:
        Refused: ``copy.damaged``.
    """
    found: dict[str, tuple[int, int]] = {}
    place, last, end = 0, "", os.fstat(descriptor).st_size
    while (block := os.pread(descriptor, BLOCK, place)) != bytes(BLOCK):
        name, size = parse_header(block)
        if name <= last or len(found) >= MAX_FILES:
            raise damaged(f"files that are not in order, or too many: {name}")
        following = place + BLOCK + size + padding(size)
        zeros = _exactly(descriptor, padding(size), place + BLOCK + size)
        if zeros is None or any(zeros):
            raise damaged(f"{name} ends too early, or is followed by something else")
        found[name], place, last = (place + BLOCK, size), following, name
    if os.pread(descriptor, len(END) + 1, place) != END or place + len(END) != end:
        raise damaged("another end than a copy has")
    return found


def _exactly(descriptor: int, size: int, place: int) -> bytes | None:
    """So many bytes from a place on, or None where there are fewer."""
    data = bytearray()
    while len(data) < size:
        part = os.pread(descriptor, size - len(data), place + len(data))
        if not part:
            return None
        data += part
    return bytes(data)
