"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import postgresql
from tests.sigstore import PrivateSigstore

# No deadline: how long an example takes is the machine's business. What is found is printed as code to repeat it.
settings.register_profile("loadlock", deadline=None, print_blob=True)
settings.load_profile("loadlock")


def pytest_configure(config: pytest.Config) -> None:
    """Make a place for what all workers of the run share."""
    if not hasattr(config, "workerinput"):
        postgresql.prepare_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the run has started."""
    if not hasattr(config, "workerinput"):
        postgresql.end_run()


@pytest.fixture(scope="session")
def sigstore() -> Iterator[PrivateSigstore]:
    """A private Sigstore on loopback, started once."""
    with PrivateSigstore() as services:
        yield services
