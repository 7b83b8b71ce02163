"""The attestation sets that a host is handed: beside their wheels, or fetched before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from verifier.deployment.home import Home
from verifier.errors import Refused, UsageError
from verifier.files import read_capped
from verifier.formats.dsse import MAX_SET

SET_SUFFIX: Final = ".attestations.jsonl"
"""What follows a wheel's file name in that of its attestation set."""


def set_of(home: Home, path: Path, digest: str) -> bytes | None:
    """The attestation set beside a wheel, else the one that was fetched for it; None if there is none.

    Args:
        home: the host's deployment directory.
        path: where the wheel lies.
        digest: "sha256:<64 hex>" of it.

    Raises:
        UsageError: ``io.failed``.
        Refused: ``format.too-large``.
    """
    beside = f"{path}{SET_SUFFIX}"
    if os.path.isfile(beside):
        return _read(Path(beside))
    stored = home.set_path(digest.removeprefix("sha256:"))
    return _read(stored) if os.path.isfile(stored) else None


def _read(path: Path) -> bytes:
    """Read a set; one over its cap was looked at, and is refused."""
    try:
        return read_capped(path, MAX_SET, "attestation set")
    except UsageError as error:
        if error.code != "format.too-large":
            raise
        raise Refused("format.too-large", error.what, found=repr(path.name), expected=error.expected) from error
