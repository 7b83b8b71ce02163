"""Whether the host's environment could have a distribution of a name, asked without importing what answers it exactly.

``importlib.metadata`` finds distributions by the names of directories, and takes longer to be imported than a gate to
be opened. So it is asked only where one of these names fits, or where somebody else than it may know of distributions.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from importlib.machinery import PathFinder
from typing import Final

_SUFFIXES: Final = (".dist-info", ".egg-info")
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


def look_again() -> None:
    """Forget what was listed: a directory may change twice within a tick of its clock."""
    _LISTED.clear()


def _may_lie_in(entry: str, name: str) -> bool:
    if not isinstance(entry, str):
        return True
    try:
        found = os.stat(entry or ".")
        if not stat.S_ISDIR(found.st_mode) or entry.lower().endswith(".egg"):
            return True  # an archive, or a distribution by itself
        known = _LISTED.get(entry)
        if known is None or known[0] != found.st_mtime_ns or not entry:
            known = _LISTED[entry] = (found.st_mtime_ns, _projects(entry or "."))
    except (OSError, ValueError):
        return False  # nothing is there
    return name in known[1]


def _projects(directory: str) -> frozenset[str]:
    """The normalised names of what the directory has metadata of."""
    names = (child.lower() for child in os.listdir(directory))
    return frozenset(
        _SEPARATORS.sub("-", name.rpartition(".")[0].partition("-")[0]) for name in names if name.endswith(_SUFFIXES)
    )


# Each directory of sys.path, with its time of writing.
_LISTED: dict[str, tuple[int, frozenset[str]]] = {}
