"""Whether the host's environment could have a distribution or a module of a name, asked without those who know exactly.

``importlib.metadata`` finds distributions by the names of files, and takes longer to be imported than a gate to be
opened; the finder of modules looks for each name into each directory anew. So they are asked only where a file's name
fits, or where somebody else than they may know: each directory is listed once, and again when it has changed.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import sys
from importlib.machinery import FileFinder, PathFinder
from typing import Final, NamedTuple

from verifier.value import Value

_SUFFIXES: Final = (".dist-info", ".egg-info")
_each_stem: Final = re.compile(r"^[^.\n]+", re.MULTILINE).findall
_SEPARATORS: Final = re.compile(r"[-_.]+")


class Surroundings:
    """What the host's environment could have, by what lies in each entry of ``sys.path`` when this is made."""

    def __init__(self) -> None:
        self._places = [_place(entry) for entry in sys.path]

    def may_have(self, name: str, ours: type) -> bool:
        """Whether a search by ``importlib.metadata`` for a distribution could find one; False only if it could not.

        Args:
            name: normalised (PEP 503).
            ours: the class of finder whose distributions are no concern.
        """
        for finder in sys.meta_path:
            if finder is not PathFinder and not isinstance(finder, ours) and hasattr(finder, "find_distributions"):
                return True
        return any(place.projects is None or name in place.projects for place in self._places)

    def may_import(self, top_level: str) -> bool:
        """Whether the system's finder of modules in ``sys.path`` could find one; False only if it could not.

        Args:
            top_level: the module's name.
        """
        stem = top_level.casefold()
        return any(place.stems is None or stem in place.stems for place in self._places)


def look_again() -> None:
    """Forget what was listed: a directory may change twice within a tick of its clock."""
    global _IS_FRESH  # noqa: PLW0603 - one for the process, like the finders
    _LISTED.clear()
    _IS_FRESH = False


def ask() -> None:
    """Let those who know exactly look again, before they are asked: they list each directory once more, so it is done
    only where a file's name fits, and once for each time that is looked again.
    """
    global _IS_FRESH  # noqa: PLW0603 - as above
    if not _IS_FRESH:
        importlib.invalidate_caches()
        _IS_FRESH = True


class _Listing(Value, frozen=True):
    """What lies in a directory: its time of writing, the normalised names of what it has metadata of, and the names of
    all files up to their first dot, both case-folded: what a letter becomes in lower case may depend on its neighbours.
    """

    written: int
    projects: frozenset[str]
    stems: frozenset[str]


class _Place(NamedTuple):
    """The same of an entry of ``sys.path``; None instead of names where there could be any."""

    projects: frozenset[str] | None
    stems: frozenset[str] | None


def _place(entry: object) -> _Place:
    if not isinstance(entry, str):
        return _Place(None, _NOTHING.stems)  # the finder of modules passes it over
    importer = sys.path_importer_cache.get(entry, _UNASKED)
    try:
        found = _listed(entry)
    except (OSError, ValueError):
        found = _NOTHING
    if found is None:
        return _Place(None, None)  # an archive
    is_known = type(importer) is FileFinder or (importer is None and found is _NOTHING)  # there still is nothing
    is_egg = entry.lower().endswith(".egg")  # a distribution by itself
    return _Place(None if is_egg else found.projects, found.stems if is_known else None)


def _listed(entry: str) -> _Listing | None:
    """What lies in an entry of ``sys.path``; None if it is no directory.

    Raises:
        OSError, ValueError: nothing is there.
    """
    found = os.stat(entry or ".")
    if not stat.S_ISDIR(found.st_mode):
        return None
    known = _LISTED.get(entry)
    if known is None or known.written != found.st_mtime_ns or not entry:
        names = "\n".join(os.listdir(entry or ".")).casefold()
        projects = (line.rpartition(".")[0].partition("-")[0] for line in names.split("\n") if line.endswith(_SUFFIXES))
        normal = frozenset(_SEPARATORS.sub("-", name) for name in projects)
        known = _Listing(found.st_mtime_ns, normal, frozenset(_each_stem(names)))
        _LISTED[entry] = known
    return known


_NOTHING: Final = _Listing(0, frozenset(), frozenset())
_UNASKED: Final = object()  # an entry that the system's finder has not looked into yet
_LISTED: dict[str, _Listing] = {}
_IS_FRESH = False
