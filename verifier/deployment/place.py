"""Where a deployment's directory is."""

from __future__ import annotations

import os
from pathlib import Path

from verifier.errors import UsageError

DIRECTORY_NAME = ".loadlock"
ENVIRONMENT = "LOADLOCK_DEPLOYMENT"


def find_deployment(given: str | None) -> Path:
    """The deployment's directory: the one given, else ``LOADLOCK_DEPLOYMENT``, else ``.loadlock`` found upward.

    Raises:
        UsageError: ``usage.deployment`` when there is none.
    """
    named = given or os.environ.get(ENVIRONMENT)
    if named:
        directory = Path(named)
        if not directory.is_dir():
            raise UsageError("usage.deployment", "the deployment's directory does not exist", found=str(directory))
        return directory
    for parent in _here_and_above():
        if (parent / DIRECTORY_NAME).is_dir():
            return parent / DIRECTORY_NAME
    raise UsageError(
        "usage.deployment", "no deployment found", expected=f"{DIRECTORY_NAME}/ here or in a parent folder"
    )


def _here_and_above() -> tuple[Path, ...]:
    """The current directory and its parents; none where it was removed."""
    try:
        here = Path.cwd()
    except OSError:
        return ()
    return (here, *here.parents)
