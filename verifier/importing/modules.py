"""What the files of a snapshot are to the import system: modules, packages, namespaces, or data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from verifier.wheel import Snapshot

_DIGEST_SHOWN: Final = len("sha256:") + 16
_COMPILED = re.compile(r".*\.(so|so(\.[0-9]+)+|pyd|dylib|dll)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One module in source form: its path inside the wheel, and whether it is a package."""

    path: str
    is_package: bool


class Modules:
    """The importable view of a snapshot.

    Attributes:
        snapshot: the snapshot.
        root: what stands for the wheel in file names, such as "<loadlock sha256:0123456789abcdef>".
        sources: full module name to source. As on disk, a package outranks a module of its name.
        namespaces: full names of directories without ``__init__.py``; on disk they would be namespace packages.
        top_levels: the names that are served: those of the snapshot below which there is a module. A directory that
            holds only data is nothing that another module could be hidden by.
        compiled: paths of extension modules and shared libraries, sorted.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.root = f"<loadlock {snapshot.digest[:_DIGEST_SHOWN]}>"
        self.sources: dict[str, Source] = {}
        directories: set[str] = set()
        for path in snapshot.files:
            if path.startswith(f"{snapshot.dist_info}/"):
                continue
            *parents, leaf = path.split("/")
            if any("." in parent for parent in parents):
                continue  # no import can name it
            directories.update(".".join(parents[:depth]) for depth in range(1, len(parents) + 1))
            self._add_source(path, parents, leaf)
        self.namespaces: frozenset[str] = frozenset(directories - self.sources.keys())
        self.top_levels = frozenset(name.partition(".")[0] for name in self.sources)
        self.compiled = sorted(path for path in snapshot.files if _COMPILED.fullmatch(path.rpartition("/")[2]))

    def _add_source(self, path: str, parents: list[str], leaf: str) -> None:
        stem, dot, suffix = leaf.rpartition(".")
        if not dot or suffix != "py" or "." in stem:
            return
        if stem == "__init__" and parents:
            self.sources[".".join(parents)] = Source(path, is_package=True)
        else:
            self.sources.setdefault(".".join([*parents, stem]), Source(path, is_package=False))

    def __contains__(self, name: str) -> bool:
        return name in self.sources or name in self.namespaces

    def file_name(self, path: str) -> str:
        """What ``__file__`` and tracebacks say of a path inside the wheel."""
        return f"{self.root}/{path}"

    def search_path(self, name: str) -> str:
        """The ``__path__`` entry of a package or namespace."""
        return f"{self.root}/{name.replace('.', '/')}"

    def children(self, parent: str) -> Iterator[tuple[str, bool]]:
        """Modules directly below a package, as (last part of the name, is a package), sorted."""
        for name, source in sorted(self.sources.items()):
            above, _, last = name.rpartition(".")
            if above == parent:
                yield last, source.is_package
