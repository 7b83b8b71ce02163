"""Fixtures of pytest for the authors of hosts. Until one of them is used, nothing but pytest is imported.

def test_my_host_lets_a_plugin_in(loadlock_load):
plugin = loadlock_load({"my_plugin.py": "def csv(rows): return str(rows)"}, name="my-plugin")

def test_my_host_survives(loadlock_refusal, my_host):
my_host.load(loadlock_refusal.wheel)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from loadlock.testing.deployment import Deployment
    from loadlock.testing.refusals import Refusal
    from verifier.gate import Gate
    from verifier.plugin import Plugin


@pytest.fixture
def loadlock_deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment with its server on loopback, and one enrolled host."""
    from loadlock.testing.deployment import Deployment

    place = tmp_path / "loadlock"
    place.mkdir()
    with Deployment(place) as deployment:
        yield deployment


@pytest.fixture
def loadlock_gate(loadlock_deployment: Deployment) -> Gate:
    """A gate of the host, which goes by the deployment's clock."""
    return loadlock_deployment.gate()


@pytest.fixture
def loadlock_load(loadlock_deployment: Deployment) -> Callable[..., Plugin]:
    """Attests and loads in one line; arguments as those of ``Deployment.attest``."""
    return loadlock_deployment.load


@pytest.fixture
def loadlock_refusal(request: pytest.FixtureRequest, loadlock_deployment: Deployment) -> Refusal:
    """A wheel that is refused, and the code. A test that asks for it is run once for each code there is a recipe for;
    ``@pytest.mark.parametrize("loadlock_refusal", ["set.missing"], indirect=True)`` chooses.
    """
    from loadlock.testing.refusals import Refusal

    code = str(request.param)
    return Refusal(code, loadlock_deployment.refuse(code), loadlock_deployment)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a refusal once for each."""
    if "loadlock_refusal" not in metafunc.fixturenames:
        return
    marks = metafunc.definition.iter_markers("parametrize")
    if not any("loadlock_refusal" in str(mark.args[:1]) for mark in marks):
        from loadlock.testing.refusals import REFUSALS

        metafunc.parametrize("loadlock_refusal", sorted(REFUSALS), indirect=True)
