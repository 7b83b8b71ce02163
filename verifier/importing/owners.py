"""Which plugin's globals these are: the one fact that attribution can rest on.

A plugin can write what it likes into its globals, but it cannot make another dictionary be the one that its functions
run in. So a module's dictionary is claimed by identity before the module's first line runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose module it is: the plugin's id, and "sha256:<64 hex>" of its wheel."""

    plugin_id: str
    artifact_digest: str


# The dictionary is kept beside its owner: were it freed, another could take its place in memory and its id.
_CLAIMS: dict[int, tuple[Mapping[str, object], Owner]] = {}


def claim(module_globals: Mapping[str, object], owner: Owner) -> None:
    """Say whose globals these are, before any code runs in them."""
    _CLAIMS[id(module_globals)] = (module_globals, owner)


def release(owner: Owner) -> None:
    """Take back all claims of an owner whose modules are gone."""
    for key, (_, claimant) in list(_CLAIMS.items()):
        if claimant is owner:
            _CLAIMS.pop(key, None)


def owner_of(module_globals: Mapping[str, object]) -> Owner | None:
    """The owner of a frame's globals (``frame.f_globals``); None if no verified module runs in them."""
    found = _CLAIMS.get(id(module_globals))
    return None if found is None else found[1]
