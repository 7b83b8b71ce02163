"""What a host is handed: wheels, and the attestation sets beside them or fetched before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from verifier.deployment.home import Home
from verifier.errors import Refused, UsageError
from verifier.files import read_capped
from verifier.formats.bundle import MAX_SET
from verifier.wheels.wheel import DEFAULT_LIMITS

SET_SUFFIX: Final = ".attestations.jsonl"
"""What follows a wheel's file name in that of its attestation set."""


def read_wheel_file(path: Path) -> bytes:
    """Read a wheel, once.

    Raises:
        UsageError: ``wheel.unreadable``: there is nothing that could be checked.
        Refused: ``wheel.too-large``.
    """
    try:
        return _read(path, DEFAULT_LIMITS.archive, "wheel", "wheel.too-large")
    except UsageError as error:
        raise UsageError("wheel.unreadable", error.what, found=error.found) from error


def set_of(home: Home, path: Path, wheel: bytes) -> bytes | None:
    """The attestation set beside a wheel, else the one that was fetched for it; None if there is none.

    Raises:
        UsageError: ``io.failed``.
        Refused: ``format.too-large``.
    """
    beside = path.with_name(path.name + SET_SUFFIX)
    if os.path.isfile(beside):
        return _read(beside, MAX_SET, "attestation set", "format.too-large")
    stored = home.set_path(hashlib.sha256(wheel).hexdigest())
    return _read(stored, MAX_SET, "attestation set", "format.too-large") if os.path.isfile(stored) else None


def _read(path: Path, limit: int, what: str, too_large: str) -> bytes:
    """Read a file; one over its cap was looked at, and is refused."""
    try:
        return read_capped(path, limit, what)
    except UsageError as error:
        if error.code != "format.too-large":
            raise
        raise Refused(too_large, error.what, found=repr(path.name), expected=error.expected) from error
