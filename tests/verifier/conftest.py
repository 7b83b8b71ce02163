"""What tests of refreshing and of the push share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live_deployment import LiveDeployment, digest


@pytest.fixture
def live() -> Iterator[LiveDeployment]:
    """A deployment with a server, and two entries on its list."""
    with LiveDeployment() as deployment:
        deployment.repository.publish_online(deployment.now)
        deployment.revoke(digest(1), digest(2))
        yield deployment
