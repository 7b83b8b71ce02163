"""A host with settings: an enrolled deployment, and plugins opened by it that are taken out of the process again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment
from verifier.hosting import Plugins, Settings

OpenPlugins = Callable[..., Plugins]


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def open_plugins(hosted: HostedDeployment, tmp_path: Path) -> OpenPlugins:
    """Opens what lies in the deployment's ``wheels`` by a file of settings; ``text`` is put into it."""

    def opened(text: str = "", **options: object) -> Plugins:
        file = tmp_path / "loadlock.toml"
        file.write_text(f'deployment = "host"\nplugins = ["wheels"]\nwatch = false\n{text}')
        plugins = Plugins(Settings.read(file), clock=hosted.clock, **options)  # type: ignore[arg-type]
        hosted.gates.append(plugins.gate)
        return plugins

    return opened
