"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.sigstore import PrivateSigstore

# No deadline: how long an example takes is the machine's business. What is found is printed as code to repeat it.
settings.register_profile("loadlock", deadline=None, print_blob=True)
settings.load_profile("loadlock")


@pytest.fixture(scope="session")
def sigstore() -> Iterator[PrivateSigstore]:
    """A private Sigstore on loopback, started once."""
    with PrivateSigstore() as services:
        yield services
