"""One deployment with a server for the tests of the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crl_server.console.visitor import Visitor
from tests.crl_server.console.world import World, served
from tests.crl_server.deployments import NOW
from tests.crl_server.live import Live


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Live]]:
    """A deployment of the module's own, and its server."""
    with served(tmp_path_factory.mktemp("console") / "acme") as both:
        yield both


@pytest.fixture
def live(world: tuple[World, Live]) -> Live:
    """The server, at the usual time."""
    world[1].now = NOW
    return world[1]


@pytest.fixture
def tokens(world: tuple[World, Live]) -> dict[str, str]:
    """The API tokens."""
    return world[0].tokens


@pytest.fixture(scope="module")
def signed_in(world: tuple[World, Live]) -> dict[str, str]:
    """The cookies of somebody with every role."""
    world[1].now = NOW
    return Visitor(world[1], world[0].tokens["all"]).cookies


@pytest.fixture
def ann(live: Live, signed_in: dict[str, str]) -> Visitor:
    """Somebody with every role, signed in."""
    visitor = Visitor(live)
    visitor.cookies = dict(signed_in)
    return visitor
