"""One deployment with a server for the tests of the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crl_server.console.visitor import Visitor
from tests.crl_server.console.world import World
from tests.crl_server.deployments import NOW
from tests.crl_server.live import Live, address_of, listen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Live]]:
    """A deployment of the module's own, and its server."""
    listening = listen()
    built = World(tmp_path_factory.mktemp("console") / "acme", address_of(listening))
    with Live(built.authority, listening) as live:
        yield built, live
    built.close()


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
