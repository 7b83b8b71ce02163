"""Package data from memory, for ``importlib.resources``.

``as_file`` works, and makes what it always makes for packages that are not on disk: a temporary copy, which nothing
protects any longer.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Iterator
from importlib.resources.abc import Traversable, TraversableResources
from typing import IO, Any

from verifier.importing.tree import MemoryTree


class MemoryPath(Traversable):
    """A file or directory of a :class:`MemoryTree`, whether or not it exists; read-only."""

    def __init__(self, tree: MemoryTree, path: str) -> None:
        self._tree = tree
        self._path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2] or self._tree.root

    def is_file(self) -> bool:
        """Whether this is a file."""
        return self._path in self._tree.files

    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self._path in self._tree.directories

    def exists(self) -> bool:
        """Whether this is anything; ``importlib.metadata`` asks that of located files."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[MemoryPath]:
        """What is directly inside, sorted.

        Raises:
            NotADirectoryError: this is a file.
            FileNotFoundError: this is nothing.
        """
        if not self.is_dir():
            raise self._error(errno.ENOTDIR if self.is_file() else errno.ENOENT)
        return iter([MemoryPath(self._tree, path) for path in self._tree.directories[self._path]])

    def joinpath(self, *descendants: str | os.PathLike[str]) -> MemoryPath:
        """A path below this one.

        Raises:
            FileNotFoundError: it would lead out of the wheel.
        """
        joined = posixpath.normpath(posixpath.join(self._path, *(os.fspath(part) for part in descendants)))
        if joined.startswith(("/", "..")):
            raise FileNotFoundError(errno.ENOENT, "leads out of the wheel", f"{self}/{joined}")
        return MemoryPath(self._tree, "" if joined == "." else joined)

    def __truediv__(self, child: str | os.PathLike[str]) -> MemoryPath:
        return self.joinpath(child)

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        """Open for reading, as text (UTF-8 unless said otherwise) or as bytes.

        Raises:
            ValueError: another mode than "r" or "rb".
            FileNotFoundError, IsADirectoryError: this is no file.
        """
        content = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return content
        if mode != "r":
            raise ValueError(f"a verified wheel can only be read, not opened with mode {mode!r}")
        if not args:
            kwargs.setdefault("encoding", "utf-8")
        return io.TextIOWrapper(content, *args, **kwargs)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            FileNotFoundError, IsADirectoryError: this is no file.
        """
        try:
            return self._tree.files[self._path]
        except KeyError:
            raise self._error(errno.EISDIR if self.is_dir() else errno.ENOENT) from None

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The content as text, UTF-8 unless said otherwise, with line ends as ``open`` gives them."""
        with self.open("r", encoding or "utf-8", errors) as stream:
            text: str = stream.read()
        return text

    def _error(self, number: int) -> OSError:
        return OSError(number, os.strerror(number), str(self))

    def __str__(self) -> str:
        return f"{self._tree.root}/{self._path}"

    def __repr__(self) -> str:
        return f"MemoryPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemoryPath) and (self._tree, self._path) == (other._tree, other._path)

    def __hash__(self) -> int:
        return hash((id(self._tree), self._path))


class MemoryReader(TraversableResources):
    """The resource reader of one package."""

    def __init__(self, tree: MemoryTree, directory: str) -> None:
        self._files = MemoryPath(tree, directory)

    def files(self) -> MemoryPath:
        """The package's directory."""
        return self._files
