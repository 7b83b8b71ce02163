"""The distribution of a snapshot, for ``importlib.metadata``."""

from __future__ import annotations

import os
from importlib.metadata import Distribution
from pathlib import Path
from typing import cast

from verifier.importing.resources import MemoryPath
from verifier.importing.tree import MemoryTree


class MemoryDistribution(Distribution):
    """Metadata from memory.

    Args:
        tree: the files of the wheel.
        dist_info: the directory with METADATA.
    """

    def __init__(self, tree: MemoryTree, dist_info: str) -> None:
        self._root = MemoryPath(tree, "")
        self._dist_info = self._root / dist_info

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        """The text of a file of the dist-info directory; None if there is none of that name."""
        path = self._dist_info / filename
        return path.read_text("utf-8") if path.is_file() else None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """A file of the wheel, to be read through ``open``, ``read_text`` or ``read_bytes``: it is not on disk."""
        # importlib.metadata types this as a path on disk, and uses of it only what MemoryPath has.
        return cast(Path, self._root / path)
