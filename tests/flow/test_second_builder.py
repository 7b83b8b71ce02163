"""A tier that demands two builders, from the policy to the host: each signs what it built, with real commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from attestor.building.wheelhouse import prepare
from loadlock.stage import Stage, example_plugin
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.gate import Gate


@dataclass(frozen=True)
class Release:
    """An endorsed and certified wheel of a deployment whose core tier demands two builders; the plugin's source."""

    stage: Stage
    wheel: Path
    source: Path
    house: Path
    token: Path

    @property
    def attestations(self) -> Path:
        return self.wheel.with_name(f"{self.wheel.name}.attestations.jsonl")

    def rebuild(self, key: str, *words: str) -> None:
        """Rebuild it as somebody else would, on a machine that has the builder's public key alone."""
        builder = self.stage.root / "builder.pem.pub"
        self.stage.run(
            "rebuild", self.wheel, "--source", self.source, "--wheelhouse", self.house, "--builder-key", builder,
            "--key", self.stage.root / f"{key}.pem", "--builder-id", f"https://host.example/{key}", *words,
        )  # fmt: skip

    def publish(self) -> None:
        self.stage.run("publish", self.wheel, "--server", self.stage.url, "--token-file", self.token)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    stage = Stage(tmp_path_factory.mktemp("second-builder"))
    house = prepare(example_plugin() / "build-requirements.lock")
    stage.run("init", stage.operator, "--id", "acme", "--profile", "demo", "--server", stage.url)
    for name in ("second", "third", "outsider"):
        stage.run("key", "new", stage.root / f"{name}.pem")
        public = stage.root / f"{name}.pem.pub"
        stage.run("trust", "add-principal", name, "--public-key", public, deployment=stage.operator)
    roles = ("--builder", "builder", "--owner", "owner", "--certifier", "certifier")
    rebuilders = ("--rebuilder", "second", "--rebuilder", "third")
    stage.run("trust", "add-plugin", "csv_exporter", *roles, *rebuilders, deployment=stage.operator)
    policy = stage.operator / "policy.toml"
    policy.write_text(policy.read_text().replace("[tiers.core]\n", "[tiers.core]\nbuilders = 2\n"))
    stage.run("trust", "policy", deployment=stage.operator)
    token = stage.run("token", "create", "ci", "--role", "publisher", deployment=stage.operator)["token"]
    (stage.root / "token").write_text(token)
    (stage.root / "token").chmod(0o600)
    private = load_pem_private_key((stage.operator / "principals" / "builder.pem").read_bytes(), None)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (stage.root / "builder.pem.pub").write_bytes(pem)
    source = stage.repository(example_plugin(), "csv-exporter")
    words = ("attest", source, "-o", stage.dist, "--all-roles", "--build-wheelhouse", house)
    wheel = Path(stage.run(*words, deployment=stage.operator)["wheel"])
    stage.start_server()
    try:
        root = stage.run("trust", "policy", "--show", deployment=stage.operator)["root"]
        stage.run("host", "enroll", stage.url, "--root", root, deployment=stage.host)
        yield Release(stage, wheel, source, house, stage.root / "token")
    finally:
        stage.stop_server()


def refusal(release: Release) -> tuple[str, str]:
    """The codes with which host and registry refuse it."""
    with pytest.raises(Refused) as at_host:
        Gate.open(release.stage.host).verify(release.wheel)
    assert at_host.value.step == 9
    with pytest.raises(Refused) as at_registry:
        release.publish()
    return at_host.value.code, at_registry.value.code


def test_one_builder_is_not_enough_and_two_are(released: Release) -> None:
    alone = released.attestations.read_bytes()
    assert refusal(released) == ("provenance.threshold", "provenance.threshold")

    released.rebuild("outsider", "--add")
    assert len(parse_set(released.attestations.read_bytes())) == len(parse_set(alone)) + 1
    assert refusal(released) == ("provenance.threshold", "provenance.threshold"), "the policy names nobody of that key"

    released.attestations.write_bytes(alone)
    released.rebuild("second", "--add")
    released.publish()
    plugin = Gate.open(released.stage.host).load(released.wheel)
    assert set(plugin.facts.rebuilders) == {"second"}
    assert plugin.entry_point("exporters", "csv")([{"a": 1}])

    released.rebuild("third", "--add")
    facts = Gate.open(released.stage.host).verify(released.wheel)
    assert set(facts.rebuilders) == {"second", "third"}
    released.publish()


def test_certifying_again_keeps_the_rebuild(released: Release) -> None:
    before = parse_set(released.attestations.read_bytes())
    public = released.stage.root / "second.pem.pub", released.stage.root / "third.pem.pub"
    words = [word for key in public for word in ("--rebuilder-key", key)]
    certify = ("certify", released.wheel, "--yes", "--tier", "core", "--expires", "2099-01-01", *words)
    released.stage.run(*certify, deployment=released.stage.operator)
    after = parse_set(released.attestations.read_bytes())
    assert {bundle.hint for bundle in after} == {bundle.hint for bundle in before}
    assert "second" in Gate.open(released.stage.host).verify(released.wheel).rebuilders
    with pytest.raises(Refused) as caught:
        released.stage.run(*certify[:7], deployment=released.stage.operator)
    assert caught.value.code == "signature.unknown-signer"
