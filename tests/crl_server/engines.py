"""Which engine the deployments of a test have. A module whose tests shall run on both says

pytestmark = pytest.mark.usefixtures("engine")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import postgresql

ENGINES = ("sqlite", "postgresql")


class Databases:
    """Hands out new databases.

    Attributes:
        engine: of which engine.
    """

    engine = "sqlite"

    def __init__(self) -> None:
        self._given: list[str] = []
        self._free: list[str] = []

    def new(self) -> str:
        """The address of an empty database; empty for an embedded one."""
        if self.engine == "sqlite":
            return ""
        server = postgresql.shared()
        if self._free:
            url = self._free.pop()
            server.clean(url)
        else:
            url = server.new_database()
        self._given.append(url)
        return url

    @contextmanager
    def used_again(self) -> Iterator[None]:
        """What is handed out inside is used by nobody afterwards."""
        before = len(self._given)
        yield
        self._free += self._given[before:]
        del self._given[before:]


databases = Databases()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run with each engine in turn."""
    with databases.used_again():
        databases.engine = request.param
        yield request.param
    databases.engine = "sqlite"


@pytest.fixture(autouse=True)
def used_again() -> Iterator[None]:
    """What one test was given, the next may have; it begins after what a whole module was given."""
    with databases.used_again():
        yield
