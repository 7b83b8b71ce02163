"""What the files of a snapshot are to the import system: modules, packages, namespaces, or data."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

from verifier.value import Value
from verifier.wheels.wheel import Snapshot

_DIGEST_SHOWN: Final = len("sha256:") + 16
_RANKS: Final = {suffix[1:]: rank for rank, suffix in enumerate((*EXTENSION_SUFFIXES, ".py"))}  # as on disk


class Source(Value, frozen=True):
    """Where a module comes from.

    Attributes:
        path: inside the wheel.
        is_package: whether it is a package.
        is_extension: whether it is compiled, for this interpreter; else it is Python source.
        rank: of two sources of one name, the one of lower rank is the module.
    """

    path: str
    is_package: bool
    is_extension: bool
    rank: tuple[bool, int]


class Modules:
    """The importable view of a snapshot.

    Attributes:
        snapshot: the snapshot.
        root: what stands for the wheel in file names, such as "loadlock:sha256:0123456789abcdef".
        sources: full module name to source. As on disk, a package outranks a module of its name, and compiled code
            outranks Python source. Compiled code for other interpreters is data.
        namespaces: full names of directories without ``__init__.py``; on disk they would be namespace packages.
        top_levels: the names that are served: those of the snapshot below which there is a module. A directory that
            holds only data is nothing that another module could be hidden by.
        compiled: paths of the extension modules, sorted.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.root = f"loadlock:{snapshot.digest[:_DIGEST_SHOWN]}"
        self.sources: dict[str, Source] = {}
        dotted: dict[str, str | None] = {}
        for path in snapshot.files:
            directory, _, leaf = path.rpartition("/")
            if directory not in dotted:  # where there is a dot, as in that of the metadata, no import can name it
                dotted[directory] = None if "." in directory else directory.replace("/", ".")
            package = dotted[directory]
            if package is not None:
                self._add_source(path, package, leaf)
        directories: set[str] = set()
        for package in dotted.values():
            while package and package not in directories:
                directories.add(package)
                package = package.rpartition(".")[0]  # noqa: PLW2901 - the one above
        self.namespaces: frozenset[str] = frozenset(directories - self.sources.keys())
        self.top_levels = frozenset(name.partition(".")[0] for name in self.sources)
        self.compiled = sorted(source.path for source in self.sources.values() if source.is_extension)

    def _add_source(self, path: str, package: str, leaf: str) -> None:
        stem, _, rest = leaf.partition(".")
        rank = _RANKS.get(rest)
        if rank is None or not stem:
            return
        is_package = stem == "__init__" and bool(package)
        name = package if is_package else f"{package}.{stem}" if package else stem
        source = Source(path, is_package, rest != "py", (not is_package, rank))
        known = self.sources.get(name)
        if known is None or source.rank < known.rank:
            self.sources[name] = source

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
