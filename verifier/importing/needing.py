"""Which libraries of its wheel an extension module needs, found out from what each says of itself.

What is found follows from the wheel's bytes and these rules alone; so it may be kept, under the wheel's digest.
"""

from __future__ import annotations

import marshal
import posixpath
from collections.abc import Callable, Container
from typing import Final

from verifier.errors import Refused
from verifier.importing.elf import Dynamic
from verifier.value import Value
from verifier.wheels.wheel_paths import shown

MAX_DEPTH: Final = 64  # of libraries that need libraries
RULE: Final = b"2"
"""Raised with every change of what is accepted or found here or in :mod:`verifier.importing.elf`."""

_ORIGINS: Final = ("$ORIGIN", "${ORIGIN}")


class Needed(Value, frozen=True):
    """What an extension module needs of its own wheel.

    Attributes:
        found: name to path of each library, deepest first. Each says itself that this is its name.
        is_circular: whether some of them need each other.
    """

    found: dict[str, str]
    is_circular: bool


def find(path: str, dynamic: Callable[[str], Dynamic], files: Container[str]) -> Needed:
    """Find out what an extension module needs of its wheel.

    Args:
        path: the module's path in the wheel.
        dynamic: what a library of the wheel says of itself, by its path.
        files: the paths of the wheel.

    Raises:
        Refused: ``wheel.unsupported`` if the system's loader could search for any of it elsewhere.
    """
    search = _Search(dynamic, files)
    search.follow(path, directories=(), above=(path,))
    return Needed(search.found, search.is_circular)


def pack(needed: Needed) -> bytes:
    """What was found, as it is kept."""
    return marshal.dumps((tuple(needed.found.items()), needed.is_circular))


def unpack(kept: bytes) -> Needed:
    """What :func:`pack` was given; of what was authenticated alone."""
    found, is_circular = marshal.loads(kept)  # noqa: S302 - authenticated when it was loaded
    return Needed(dict(found), is_circular)


class _Search:
    """A walk over the libraries of one wheel."""

    def __init__(self, dynamic: Callable[[str], Dynamic], files: Container[str]) -> None:
        self._dynamic = dynamic
        self._files = files
        self._first: dict[str, str] = {}
        self.found: dict[str, str] = {}
        self.is_circular = False

    def follow(self, path: str, directories: tuple[str, ...], above: tuple[str, ...]) -> None:
        """Find what a library needs.

        Args:
            path: the library's.
            directories: where those that need it want libraries searched; that holds for what it needs as well.
            above: the libraries on the way to it, itself included.
        """
        if len(above) > MAX_DEPTH:
            raise Refused("wheel.unsupported", "libraries of the wheel need one another too deeply", found=shown(path))
        dynamic = self._dynamic(path)
        own = tuple(_directory(path, entry) for entry in dynamic.search)
        for name in dynamic.needed:
            found = self._find(path, name, (*own, *directories))
            if found is None or self.found.get(name) == found:
                continue
            if found in above:
                self._close_circle(path, found, own, dynamic)
                continue
            self._check(name, found)
            self.follow(found, (*own, *directories), (*above, found))
            self.found[name] = found

    def _check(self, name: str, path: str) -> None:
        """The library can be found by the name once it is loaded, and no other one."""
        first = self._first.setdefault(name, path)
        if first != path:
            raise Refused(
                "wheel.unsupported",
                f"libraries of the wheel need two of the name {shown(name)}, and the system's loader knows one",
                found=f"{shown(first)}, {shown(path)}",
            )
        soname = self._dynamic(path).soname
        if soname != name:
            raise Refused(
                "wheel.unsupported",
                f"the library {shown(path)} is asked for by another name than its own",
                found=shown(name),
                expected=shown(soname),
            )

    def _find(self, path: str, name: str, directories: tuple[str, ...]) -> str | None:
        """The wheel's library of that name, or None if it brings none."""
        if "/" in name:
            raise Refused(
                "wheel.unsupported",
                f"{shown(path)} needs a library by its path, which would be searched from the current directory",
                found=shown(name),
            )
        candidates = (posixpath.normpath(posixpath.join(directory, name)) for directory in directories)
        return next((candidate for candidate in candidates if candidate in self._files), None)

    def _close_circle(self, path: str, found: str, own: tuple[str, ...], dynamic: Dynamic) -> None:
        """A library that is not loaded yet will be searched: only where the wheel says, before anywhere else."""
        self.is_circular = True
        if posixpath.dirname(found) not in own or not dynamic.searched_first:
            raise Refused(
                "wheel.unsupported",
                f"{shown(path)} needs a library that needs it, and lets the environment say where that is searched",
                found=shown(found),
                expected="its directory in DT_RPATH",
            )


def _directory(path: str, entry: str) -> str:
    """A directory of the wheel in which a library wants others searched."""
    for origin in _ORIGINS:
        if entry == origin or entry.startswith(f"{origin}/"):
            below = entry.removeprefix(origin).lstrip("/")
            return posixpath.normpath(posixpath.join(posixpath.dirname(path), below))
    raise Refused(
        "wheel.unsupported",
        f"{shown(path)} wants libraries searched outside the wheel, where anybody may have put them",
        found=shown(entry),
        expected="directories below $ORIGIN",
        todo="Have its owner build it without that RPATH, and attest that.",
    )
