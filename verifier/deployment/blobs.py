"""Files that are named after their content, and the lock of the one process that writes them.

A file under its sha256 is either whole or not there, never changes, and may be written before anything refers to it:
whoever replaces one small record that names such files replaces all of them at once.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from verifier.errors import FormatError, LoadlockError, Refused, Unreachable
from verifier.files import map_capped, read_capped, write_atomic
from verifier.formats.text import Hex
from verifier.revocation.revocation_list import Buffer
from verifier.value import Value

try:
    import fcntl
except ImportError:  # not a POSIX system: reading works, and whoever wants to write is refused
    fcntl = None  # type: ignore[assignment]

LOCK_WAIT = 10.0
"""How long to wait, in seconds, for another process that writes."""
LOCK_POLL = 0.02
"""How long to wait, in seconds, before asking again."""


_held: set[int] = set()


def _let_go_in_child() -> None:
    # A forked child shares the descriptor and with it the lock, and would keep it beyond the parent's death.
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


class Kind(Value, frozen=True):
    """A kind of files: where they lie, what their names end in, their size cap in bytes, the code of a refusal, and the
    size in bytes from which on one is mapped instead of read.
    """

    folder: str
    suffix: str
    limit: int
    code: str
    mapped_from: int | None = None


class Blobs:
    """Content-addressed files below one directory.

    Args:
        directory: where the kinds' folders lie.
        kinds: the kinds by name.
    """

    def __init__(self, directory: Path, kinds: Mapping[str, Kind]) -> None:
        self.directory = directory
        self.kinds = kinds

    def path(self, kind: str, sha256: str) -> Path:
        """Where the file of that digest lies, whether or not it exists."""
        found = self.kinds[kind]
        return self.directory / found.folder / f"{Hex(sha256)}{found.suffix}"

    def read(self, kind: str, sha256: str) -> Buffer:
        """The file of that digest, mapped where its kind wants that.

        Raises:
            Refused: the kind's code when the file is missing, too large, or is not what its name says.
        """
        found, data = self.kinds[kind], self.unverified(kind, sha256)
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise Refused(found.code, f"a stored {kind} file was changed", found=actual, expected=sha256)
        return data

    def unverified(self, kind: str, sha256: str) -> Buffer:
        """The file that is stored under that digest, for who compares it.

        Raises:
            Refused: the kind's code when the file is missing or too large.
        """
        found, path, what = self.kinds[kind], self.path(kind, sha256), f"{kind} file"
        try:
            if found.mapped_from is not None and path.is_file() and path.stat().st_size >= found.mapped_from:
                return map_capped(path, found.limit, what)
            return read_capped(path, found.limit, what)
        except (LoadlockError, OSError) as error:
            said = error.found if isinstance(error, LoadlockError) else str(error.strerror)
            raise Refused(found.code, f"a stored {kind} file cannot be read", found=said) from error

    def write(self, kind: str, data: bytes) -> Hex:
        """Keep ``data`` durably and return its sha256; a damaged file of that name is mended.

        Raises:
            FormatError: ``format.too-large``.
            Unreachable: ``io.failed``.
        """
        limit = self.kinds[kind].limit
        if len(data) > limit:
            raise FormatError("format.too-large", f"a {kind} file is too large", expected=f"at most {limit} bytes")
        name = Hex(hashlib.sha256(data).hexdigest())
        try:
            self.read(kind, name)
        except Refused:
            write_atomic(self.path(kind, name), data, mode=0o444)
        return name

    def sweep(self, keep: Collection[str]) -> None:
        """Remove the files whose digests are not in ``keep``, and what an interrupted write left behind.

        Raises:
            Unreachable: ``io.failed``.
        """
        for kind in self.kinds.values():
            folder = self.directory / kind.folder
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.name.removesuffix(kind.suffix) not in keep:
                    _remove(path)


@contextmanager
def writing(directory: Path, wait: float = LOCK_WAIT) -> Iterator[None]:
    """Be the only writer of ``directory`` among all processes and threads that ask.

    Args:
        directory: what is to be written; a file named ``lock`` appears in it.
        wait: how many seconds to wait for another writer.

    Raises:
        Unreachable: ``io.failed`` when another writer does not finish, the directory is not writable, or the system has
            no locks of files.
    """
    if fcntl is None:
        raise Unreachable(
            "io.failed", "this system has no locks of files, without which nothing is written here", found=sys.platform,
            todo="Enrol and synchronise on Linux, and let this host read the directory.",
        )  # fmt: skip
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Unreachable("io.failed", f"cannot lock {directory.name!r}", found=error.strerror or str(error)) from error
    try:
        _acquire(descriptor, directory, time.monotonic() + wait)
        _held.add(descriptor)
        try:
            yield
        finally:
            _held.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, directory: Path, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Unreachable(
                    "io.failed", f"another process is writing to {directory.name!r}", todo="Try again later."
                ) from None
            time.sleep(LOCK_POLL)
        else:
            return


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Unreachable("io.failed", f"cannot remove {path.name!r}", found=error.strerror or str(error)) from error
