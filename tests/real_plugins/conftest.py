"""What the tests with real plugins share: each is attested once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from attestor.pipeline import Attestation, Options, attest_source
from attestor.signers import KeySigner, new_key
from attestor.wheelhouse import Wheelhouse
from tests.real_plugins.fetch import Plugin, build_wheels, sdists

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Attested:
    """A real plugin, attested from its sdist, and the key of who did."""

    plugin: Plugin
    made: Attestation
    builder: KeySigner


@pytest.fixture(scope="session")
def attest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plugin], Attested]:
    """Attests a plugin from its sdist, offline once that and the build wheels are there; each only once."""
    scratch = tmp_path_factory.mktemp("real")
    builder = new_key(scratch / "builder.pem")
    house = Wheelhouse(build_wheels(), cache=scratch / "cache")
    places: dict[str, Path] = sdists()

    @cache
    def once(plugin: Plugin) -> Attested:
        options = Options(manifest=plugin.manifest, house=house)
        return Attested(plugin, attest_source(places[plugin.name], options, builder, now=NOW), builder)

    return once
