"""Where copies go: what a place can do, and the simplest one, a directory."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from crl_server.export.tree import MAX_POINTER
from crl_server.lists.public_files import PublicKind, kind_of, make_folders
from verifier.errors import Unreachable
from verifier.files import read_capped, write_atomic

_STAGED = re.compile(r"\.(?:[0-9a-z._-]{1,60})\.[a-z0-9_]{8}")
"""What a write leaves behind when the machine stops in the middle of it; :func:`verifier.files.write_atomic`."""


class Held(NamedTuple):
    """What a place holds under a name: the content, and how the place calls this state of it."""

    data: bytes
    tag: str


class Place(Protocol):
    """Somewhere that files can be copied to. Names are paths below the public tree.

    Each method raises ``Refused`` with ``export.denied`` when the place does not let us, and ``Unreachable`` with
    ``unreachable.storage`` or ``io.failed`` when it is not to be had.
    """

    def mark(self, data: bytes) -> str:
        """How :meth:`marks` would call this content."""

    def marks(self) -> Mapping[str, str]:
        """Every file of the tree that is there, each with the mark of its content."""

    def read(self, name: str) -> Held | None:
        """What is there under a name of at most :data:`MAX_POINTER` bytes, or None."""

    def put(self, name: str, data: bytes, kind: PublicKind) -> None:
        """Write a file, whole or not at all."""

    def replace(self, name: str, data: bytes, kind: PublicKind, held: Held | None) -> None:
        """Write a file in place of ``held``, and of nothing else.

        Raises:
            Refused: ``export.conflict`` when something else is there by now.
        """

    def delete(self, name: str) -> None:
        """Remove a file; it need not be there."""


class Directory:
    """A directory, for a web server or for whatever copies it on. One process at a time writes it.

    Args:
        root: where; made when it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def mark(self, data: bytes) -> str:
        """The content's sha256."""
        return hashlib.sha256(data).hexdigest()

    def marks(self) -> Mapping[str, str]:
        """As :class:`Place` says; what an earlier process has left half-written is removed."""
        found = {}
        with _failing(self._root):
            for folder, _, names in os.walk(self._root):
                for name in names:
                    path = Path(folder, name)
                    if _STAGED.fullmatch(name):
                        path.unlink(missing_ok=True)
                    elif kind_of(known := path.relative_to(self._root).as_posix()) and not path.is_symlink():
                        found[known] = self.mark(path.read_bytes())
        return found

    def read(self, name: str) -> Held | None:
        """As :class:`Place` says."""
        path = self._root / name
        if not path.exists():
            return None
        data = read_capped(path, MAX_POINTER, "exported file")
        return Held(data, self.mark(data))

    def put(self, name: str, data: bytes, kind: PublicKind) -> None:
        """As :class:`Place` says."""
        path = self._root / name
        with _failing(path):
            make_folders(self._root, name)
        write_atomic(path, data)

    def replace(self, name: str, data: bytes, kind: PublicKind, held: Held | None) -> None:
        """As :class:`Place` says; it is the only writer."""
        self.put(name, data, kind)

    def delete(self, name: str) -> None:
        """As :class:`Place` says."""
        path = self._root / name
        with _failing(path):
            path.unlink(missing_ok=True)


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unreachable(
            "io.failed", f"cannot write {path.name!r} of the export", found=error.strerror or str(error)
        ) from error
