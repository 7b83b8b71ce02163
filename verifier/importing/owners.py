"""Which plugin's globals these are: the one fact that attribution can rest on.

A plugin can write what it likes into its globals, but it cannot make another dictionary be the one that its functions
run in. So a module's dictionary is claimed by identity before the module's first line runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FrameType

from verifier.value import Value


class Owner(Value, frozen=True):
    """Whose module it is: the plugin's id, and "sha256:<64 hex>" of its wheel."""

    plugin_id: str
    artifact_digest: str


# What `id` tells too; but each call of `id` is an audit event, and a walk up the stack would make one a frame.
_identity = object.__hash__

# The dictionary is kept beside its owner: were it freed, another could take its place in memory and its identity.
_CLAIMS: dict[int, tuple[Mapping[str, object], Owner]] = {}


def claim(module_globals: Mapping[str, object], owner: Owner) -> None:
    """Say whose globals these are, before any code runs in them."""
    _CLAIMS[_identity(module_globals)] = (module_globals, owner)


def release(owner: Owner) -> None:
    """Take back all claims of an owner whose modules are gone."""
    for key, (_, claimant) in list(_CLAIMS.items()):
        if claimant is owner:
            _CLAIMS.pop(key, None)


def owner_of(module_globals: Mapping[str, object]) -> Owner | None:
    """The owner of a frame's globals (``frame.f_globals``); None if no verified module runs in them."""
    found = _CLAIMS.get(_identity(module_globals))
    return None if found is None else found[1]


def innermost_owner(frame: FrameType | None) -> Owner | None:
    """The owner of the innermost frame, from this one outward, that runs in a verified module; None if none does."""
    if not _CLAIMS:
        return None
    while frame is not None:
        found = _CLAIMS.get(_identity(frame.f_globals))
        if found is not None:
            return found[1]
        frame = frame.f_back
    return None
