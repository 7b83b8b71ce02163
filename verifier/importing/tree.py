"""The files of a wheel, as a tree that is not on disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property


class MemoryTree:
    """Files by path, and the directories that the paths imply.

    Args:
        root: what stands before paths when one is printed.
        files: path to content.
    """

    def __init__(self, root: str, files: Mapping[str, bytes]) -> None:
        self.root = root
        self.files = files

    @cached_property
    def directories(self) -> dict[str, list[str]]:
        """Path to what is directly inside, sorted; made when it is first asked for, which most plugins never do."""
        directories: dict[str, list[str]] = {"": []}

        def list_in_parent(path: str) -> None:
            parent = path.rpartition("/")[0]
            if parent not in directories:
                directories[parent] = []
                list_in_parent(parent)
            directories[parent].append(path)

        for path in sorted(self.files):
            list_in_parent(path)
        return directories
