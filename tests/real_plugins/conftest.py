"""What the tests with real plugins share: each is attested once, and one enrolled host may load them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from attestor.building.wheelhouse import Wheelhouse
from attestor.commands.places import WheelFiles
from attestor.pipeline import Attestation, Options, attest_source
from attestor.signing.certify import Terms, certify
from attestor.signing.endorse import endorse
from attestor.signing.signers import KeySigner, new_key
from tests.hosts import HostedDeployment
from tests.real_plugins.fetch import Plugin, build_wheels, plugins, sdists

ROLES = ("builder", "owner", "certifier")


@dataclass(frozen=True)
class Attested:
    """A real plugin, attested from its sdist, and who signs for it by role."""

    plugin: Plugin
    made: Attestation
    people: dict[str, KeySigner]

    def write(self, folder: Path) -> Path:
        """Put the wheel on disk with a set that owner and certifier have signed too; gives back the wheel's path."""
        now = datetime.now(UTC)
        made, builders = self.made, [self.people["builder"].public_key]
        endorsed = endorse(
            made.wheel, made.file_name, made.attestations, made.unsigned, self.people["owner"], builders, now=now
        )
        certified = certify(
            made.wheel,
            made.file_name,
            endorsed.attestations,
            self.people["certifier"],
            {"builder": builders, "owner": [self.people["owner"].public_key]},
            Terms("core", now + timedelta(days=30)),
            now=now,
        )
        files = WheelFiles(folder / made.file_name)
        files.wheel.write_bytes(made.wheel)
        files.attestations.write_bytes(certified.attestations)
        return files.wheel


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeySigner]:
    """A key for each role."""
    place = tmp_path_factory.mktemp("people")
    return {role: new_key(place / f"{role}.pem") for role in ROLES}


@pytest.fixture(scope="session")
def attest(people: dict[str, KeySigner], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plugin], Attested]:
    """Attests a plugin from its sdist, offline once that and the build wheels are there; each only once."""
    house = Wheelhouse(build_wheels(), cache=tmp_path_factory.mktemp("cache"))
    places: dict[str, Path] = sdists()

    @cache
    def once(plugin: Plugin) -> Attested:
        options = Options(manifest=plugin.manifest, house=house)
        made = attest_source(places[plugin.name], options, people["builder"], now=datetime.now(UTC))
        return Attested(plugin, made, people)

    return once


def deployment_of(people: dict[str, KeySigner], directory: Path) -> HostedDeployment:
    """A deployment whose policy names these people for the five plugins, and a host; entering it enrols that."""
    deployment = HostedDeployment(directory)
    rules = deployment.sim.rules
    for role, signer in people.items():
        key = signer.public_key
        rules["keys"][key.id] = {"alg": key.alg, "spki": key.entry.spki}
        rules["principals"][role]["key"] = key.id
    for plugin in plugins():
        rules["plugins"][plugin.name.replace("-", "_")] = {f"{role}s": [role] for role in ROLES}
    deployment.sim.policy("certifiers.certifier.max_tier", "core")
    return deployment


@pytest.fixture(scope="session")
def hosted(people: dict[str, KeySigner], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedDeployment]:
    """One host that may load all five."""
    with deployment_of(people, tmp_path_factory.mktemp("hosted")) as deployment:
        yield deployment
