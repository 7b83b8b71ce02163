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
from typing import Final

from verifier.value import Value

_SUFFIXES: Final = (".dist-info", ".egg-info")
_each_stem: Final = re.compile(r"^[^.\n]+", re.MULTILINE).findall
_SEPARATORS: Final = re.compile(r"[-_.]+")


def may_have(name: str, ours: type) -> bool:
    """Whether a search by ``importlib.metadata`` for a distribution could find one; False only if it could not.

    Args:
        name: normalised (PEP 503).
        ours: the class of finder whose distributions are no concern.
    """
    for finder in sys.meta_path:
        if finder is not PathFinder and not isinstance(finder, ours) and hasattr(finder, "find_distributions"):
            return True
    return any(_may_lie_in(entry, name) for entry in sys.path)


def may_import(top_level: str) -> bool:
    """Whether the system's finder of modules in ``sys.path`` could find one; False only if it could not.

    Args:
        top_level: the module's name.
    """
    return any(_may_serve(entry, top_level.casefold()) for entry in sys.path)


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


def _may_lie_in(entry: str, name: str) -> bool:
    if not isinstance(entry, str):
        return True
    try:
        found = _listed(entry)
    except (OSError, ValueError):
        return False  # nothing is there
    if found is None or entry.lower().endswith(".egg"):
        return True  # an archive, or a distribution by itself
    return name in found.projects


def _may_serve(entry: str, name: str) -> bool:
    if not isinstance(entry, str):
        return False  # it is passed over
    importer = sys.path_importer_cache.get(entry, _UNASKED)
    if importer is not None and type(importer) is not FileFinder:
        return True
    try:
        found = _listed(entry)
    except (OSError, ValueError):
        return False
    return importer is None or found is None or name in found.stems  # None: what was not there is there now


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


_UNASKED: Final = object()  # an entry that the system's finder has not looked into yet
_LISTED: dict[str, _Listing] = {}
_IS_FRESH = False
