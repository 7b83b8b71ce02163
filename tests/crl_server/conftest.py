"""What the service's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crl_server.service import Authority
from tests.crl_server.deployments import made
from tests.crl_server.engines import engine, used_again

__all__ = ["engine", "used_again"]


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    """A deployment in which nothing has happened yet."""
    new = made(tmp_path / "acme")
    yield new
    new.close()
