"""The versions of the programs that had a hand in an attestation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: What is said of a program that runs from its source tree without being installed.
UNKNOWN = "0"


def version_of(distribution: str) -> str:
    """The installed version of a distribution, :data:`UNKNOWN` when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return UNKNOWN
