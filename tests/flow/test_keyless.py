"""No key anywhere: a pipeline builds, a person endorses, another certifies, all by what a private Sigstore vouches for.

Real commands throughout, from the source to the host that loads, in every combination of log and timestamps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestor.building.wheelhouse import prepare
from attestor.signing.keyless import KeylessSigner, Services
from loadlock.stage import Stage, example_plugin
from tests.sigstore import COMBINATIONS, PrivateSigstore, workflow_claims
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.formats.bundle import parse_set
from verifier.gate import Gate
from verifier.runtime import stamps

WORKFLOW = "https://github.com/acme/sample-plugin/.github/workflows/release.yml"
PEOPLE = ("alice", "carol")
IDENTITY = """\
[workflow]
issuer = "{issuer}"
repository_id = "4711"
workflow = "{workflow}"
refs = ["refs/heads/main", "refs/tags/v*"]
triggers = ["push", "release"]
"""


class World:
    """A deployment whose policy names a pipeline, an owner and a certifier without keys; its server and a host."""

    def __init__(self, place: Path, sigstore: PrivateSigstore) -> None:
        self.sigstore = sigstore
        self.stage = Stage(place)
        self.released: dict[tuple[int, bool], Path] = {}
        self.house = prepare(example_plugin() / "build-requirements.lock")
        stage, issuer = self.stage, sigstore.issuer.url
        stage.run("init", stage.operator, "--id", "acme", "--profile", "demo", "--server", stage.url)
        self.write("root.json", json.dumps(sigstore.trusted_root()))
        self.operate("trust", "add-sigstore", "private", place / "root.json")
        self.write("ci.toml", IDENTITY.format(issuer=issuer, workflow=WORKFLOW))
        for name in PEOPLE:
            self.write(f"{name}.toml", f'[person]\nissuer = "{issuer}"\nemail = "{name}@host.example"\n')
        for name, more in (("ci", ()), ("alice", ()), ("carol", ("--max-tier", "core"))):
            identity = ("--identity", place / f"{name}.toml", "--root", "private")
            self.operate("trust", "add-principal", name, *identity, *more)
        roles = ("--builder", "ci", "--owner", "alice", "--certifier", "carol")
        self.operate("trust", "add-plugin", "csv_exporter", *roles)
        token = self.operate("token", "create", "ci", "--role", "publisher")["token"]
        self.write("api-token", token).chmod(0o600)
        self.source = stage.repository(example_plugin(), "csv-exporter", {'"owner": "owner"': '"owner": "alice"'})
        stage.start_server()
        root = self.operate("trust", "policy", "--show")["root"]
        stage.run("host", "enroll", stage.url, "--root", root, deployment=stage.host)

    def operate(self, *words: str | Path) -> dict[str, str]:
        """A command of the operator."""
        return self.stage.run(*words, deployment=self.stage.operator)

    def write(self, name: str, text: str) -> Path:
        path = self.stage.root / name
        path.write_text(text)
        return path

    def signing(self, who: str, log: int = 2, *, timestamps: bool = True, **changes: Any) -> list[str | Path]:
        """The options with which somebody signs keyless, with a fresh token."""
        claims = workflow_claims() if who == "ci" else {"sub": who, "email": f"{who}@host.example"}
        token = self.write(f"{who}.jwt", self.sigstore.issuer.token(claims | changes) + "\n")
        config = self.write("config.json", json.dumps(self.sigstore.trust_config(log, timestamps=timestamps)))
        return ["--keyless", "--identity-token", token, "--trust-config", config]

    def attest(self, dist: Path, *signing: str | Path) -> Path:
        words = ("attest", self.source, "-o", dist, "--once", "--build-wheelhouse", self.house, *signing)
        return Path(self.stage.run(*words)["wheel"])

    def release(self, log: int = 2, *, timestamps: bool = True) -> Path:
        """The plugin, attested, endorsed and certified by people without keys; made once for each combination."""
        dist, root, how = self.stage.root / f"dist-{log}-{timestamps}", self.stage.root, (log, timestamps)
        if how not in self.released:
            wheel = self.attest(dist, *self.signing("ci", log, timestamps=timestamps))
            builder = ("--builder-identity", root / "ci.toml")
            self.stage.run("endorse", wheel, *builder, *self.signing("alice", log, timestamps=timestamps))
            owner = ("--owner-identity", root / "alice.toml")
            signing = self.signing("carol", log, timestamps=timestamps)
            terms = ("--yes", "--tier", "core", "--expires", "2099-01-01")
            self.stage.run("certify", wheel, *terms, *builder, *owner, *signing)
            self.released[how] = wheel
        return self.released[how]

    def load(self, wheel: Path) -> list[str]:
        """What a host that has synchronised gets out of the plugin; afterwards it is gone from this process."""
        self.stage.run("host", "sync", deployment=self.stage.host)
        with Gate.open(self.stage.host) as gate:
            plugin = gate.load(wheel)
            try:
                assert plugin.entry_point("exporters", "csv")([{"a": 1}])
                return sorted(set(plugin.facts.signers.values()))
            finally:
                plugin._registration.unregister()
                stamps.uninstall()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sigstore: PrivateSigstore) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("keyless"), sigstore)
    yield made
    made.stage.stop_server()


@pytest.mark.parametrize(("log", "timestamps"), COMBINATIONS)
def test_from_the_source_to_the_host_without_a_key(world: World, log: int, timestamps: bool) -> None:
    wheel, stage = world.release(log, timestamps=timestamps), world.stage
    for bundle in parse_set(wheel.with_name(f"{wheel.name}.attestations.jsonl").read_bytes()):
        assert bundle.material is not None
        assert bool(bundle.material.timestamps) == timestamps
        assert bundle.material.entry.kindVersion.version == f"0.0.{log}"
    stage.run("publish", wheel, "--server", stage.url, "--token-file", stage.root / "api-token")
    assert world.load(wheel) == ["alice", "carol", "ci"]


def test_a_retired_log_reaches_hosts_with_the_policy(world: World) -> None:
    wheel = world.release()
    document = world.sigstore.trusted_root()
    document["tlogs"][1]["publicKey"]["validFor"]["end"] = document["tlogs"][1]["publicKey"]["validFor"]["start"]
    retired = world.write("retired.json", json.dumps(document))
    with pytest.raises(UsageError) as caught:
        world.operate("trust", "add-sigstore", "private", retired)
    assert caught.value.code == "usage.exists"
    world.operate("trust", "add-sigstore", "private", retired, "--replace")
    with pytest.raises(Refused) as refused:
        world.load(wheel)
    assert refused.value.code == "signature.log"
    world.operate("trust", "add-sigstore", "private", world.stage.root / "root.json", "--replace")
    assert world.load(wheel) == ["alice", "carol", "ci"]


def test_a_trusted_root_that_is_none_is_not_signed(world: World) -> None:
    for document, code in (({}, "trust.metadata"), (world.sigstore.trusted_root() | {"ctlogs": []}, "trust.metadata")):
        with pytest.raises(LoadlockError) as caught:
            world.operate("trust", "add-sigstore", "other", world.write("bad.json", json.dumps(document)))
        assert caught.value.code == code


def test_a_policy_whose_trusted_root_is_gone_is_not_signed(world: World) -> None:
    policy = world.stage.operator / "policy.toml"
    before = policy.read_text()
    wrong = world.write("wrong.toml", before + f'\n[trusted_roots.gone]\ndigest = "sha256:{"0" * 64}"\n')
    with pytest.raises(Refused) as caught:
        world.operate("trust", "policy", "--set-from", wrong)
    assert caught.value.code == "trust.policy"
    assert policy.read_text() == before


# -- signing that goes wrong -----------------------------------------------------------------------------------------


@pytest.fixture
def released(world: World) -> World:
    """The world once its services have all answered: what a test asks for beside the one that does not, is there."""
    world.release()
    return world


def refusal_to_attest(world: World, place: Path, *signing: str | Path) -> LoadlockError:
    """Why a wheel that was built elsewhere is not attested; nothing is written then."""
    wheel = world.release()
    manifest = world.source / "PLUGIN_MANIFEST.json"
    with pytest.raises(LoadlockError) as caught:
        world.stage.run("attest", "--wheel", wheel, "--manifest", manifest, "-o", place, *signing)
    assert not place.exists() or not list(place.iterdir())
    return caught.value


@pytest.mark.parametrize("service", ["/api/v2/signingCert", "/rekor2/", "/tsa/"])
def test_a_service_that_hangs_ends_the_command(
    released: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv("LOADLOCK_KEY_DEADLINE", "1")
    signing = released.signing("ci")
    with released.sigstore.hanging(service):
        error = refusal_to_attest(released, tmp_path / "dist", *signing)
    assert (type(error), error.code) == (Unreachable, "unreachable.signer")
    assert "1 seconds" in error.found


@pytest.mark.parametrize("service", ["/api/v2/signingCert", "/rekor2/", "/tsa/"])
def test_a_service_that_fails_ends_the_command(released: World, tmp_path: Path, service: str) -> None:
    with released.sigstore.failing(service):
        error = refusal_to_attest(released, tmp_path / "dist", *released.signing("ci"))
    assert (type(error), error.code) == (Unreachable, "unreachable.signer")


def test_a_missing_timestamp_is_an_error_where_the_log_states_a_time(released: World, tmp_path: Path) -> None:
    with released.sigstore.failing("/tsa/"):
        error = refusal_to_attest(released, tmp_path / "dist", *released.signing("ci", 1))
    assert error.code == "unreachable.signer"
    assert "no timestamp authority answered" in error.what


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp": int(time.time()) - 60}, "has expired"),
        ({"exp": "soon"}, "until when"),
        ({"aud": "somebody"}, "not usable"),
    ],
)
def test_a_token_that_is_not_usable(world: World, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    error = refusal_to_attest(world, tmp_path / "dist", *world.signing("ci", **changes))
    assert (type(error), error.code) == (UsageError, "usage.identity")
    assert words in error.what


def test_a_token_of_an_issuer_that_the_authority_does_not_know(world: World, tmp_path: Path) -> None:
    error = refusal_to_attest(world, tmp_path / "dist", *world.signing("ci", iss="https://other.host.example"))
    assert (error.code, error.found) == ("usage.identity", "status 400")


def test_what_is_no_token(world: World, tmp_path: Path) -> None:
    signing = world.signing("ci")
    (world.stage.root / "ci.jwt").write_text("no.token")
    error = refusal_to_attest(world, tmp_path / "dist", *signing)
    assert error.code == "usage.identity"
    assert "no.token" not in str(error)


def test_a_certificate_for_another_name_than_the_tokens(world: World, tmp_path: Path) -> None:
    error = refusal_to_attest(world, tmp_path / "dist", *world.signing("ci"), "--certificate-identity", "somebody")
    assert error.code == "signature.identity"


def test_no_identity_here(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"):
        monkeypatch.delenv(variable, raising=False)
    config = world.signing("ci")[-1]
    error = refusal_to_attest(world, tmp_path / "dist", "--keyless", "--trust-config", config)
    assert error.code == "usage.identity"


def test_the_identity_that_a_pipeline_is_given(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = world.release()
    manifest = world.source / "PLUGIN_MANIFEST.json"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", world.sigstore.issuer.bearer)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{world.sigstore.address}/oidc/job?v=1")
    config = world.signing("ci")[-1]
    words = ("attest", "--wheel", wheel, "--manifest", manifest, "-o", tmp_path / "dist")
    made = world.stage.run(*words, "--keyless", "--trust-config", config)
    assert parse_set(Path(made["attestations"]).read_bytes())[0].material is not None
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong")
    error = refusal_to_attest(world, tmp_path / "other", "--keyless", "--trust-config", config)
    assert error.code == "usage.identity"


def test_keyless_and_a_key_at_once(world: World, tmp_path: Path) -> None:
    error = refusal_to_attest(world, tmp_path / "dist", *world.signing("ci"), "--key", "builder.pem")
    assert error.code == "usage.arguments"
    error = refusal_to_attest(world, tmp_path / "dist", "--identity-token", "token")
    assert error.code == "usage.arguments"


def test_a_configuration_that_is_none(world: World, tmp_path: Path) -> None:
    signing = world.signing("ci")
    (world.stage.root / "config.json").write_text("{}")
    assert refusal_to_attest(world, tmp_path / "dist", *signing).code == "usage.configuration"


def test_the_builder_may_not_certify(world: World, tmp_path: Path) -> None:
    wheel = world.release()
    root = world.stage.root
    named = ("--builder-identity", root / "ci.toml", "--owner-identity", root / "alice.toml")
    words = ("certify", wheel, "--yes", "--tier", "core", "--expires", "2099-01-01", *named, *world.signing("ci"))
    with pytest.raises(Refused) as caught:
        world.stage.run(*words)
    assert caught.value.code in ("roles.not-disjoint", "signature.wrong-signer", "signature.identity")


def test_a_set_by_an_identity_that_nobody_named(world: World) -> None:
    wheel = world.release()
    root = world.stage.root
    issuer = world.sigstore.issuer.url
    stranger = world.write("stranger.toml", f'[person]\nissuer = "{issuer}"\nemail = "eve@host.example"\n')
    named = ("--builder-identity", stranger, "--owner-identity", root / "alice.toml")
    words = ("certify", wheel, "--yes", "--tier", "core", "--expires", "2099-01-01", *named, *world.signing("carol"))
    with pytest.raises(Refused) as caught:
        world.stage.run(*words)
    assert caught.value.code == "signature.identity"
    assert WORKFLOW in caught.value.found


def test_what_is_signed_is_verified_before_it_is_handed_over(sigstore: PrivateSigstore) -> None:
    """A Sigstore whose trusted root is another one's: it signs, and what it signed is not handed over."""
    with PrivateSigstore() as other:
        config = sigstore.trust_config(2, timestamps=True)
        config["trustedRoot"]["tlogs"] = other.trusted_root()["tlogs"]
        services = Services.read(json.dumps(config).encode())
        token = sigstore.issuer.token(workflow_claims())
        signer = KeylessSigner(services, lambda: token, timedelta(seconds=20))
        with pytest.raises(LoadlockError) as caught:
            signer.sign(STATEMENT)
    assert caught.value.code in ("signature.log", "signature.certificate")


STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a.whl", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    }
).encode()


def test_a_rehearsal_knows_identities(world: World) -> None:
    wheel, root = world.release(), world.stage.root
    world.stage.run("host", "sync", deployment=world.stage.host)
    before = wheel.with_name(f"{wheel.name}.attestations.jsonl").read_bytes()
    named = ("--builder-identity", root / "ci.toml", "--owner-identity", root / "alice.toml")
    words = ("certify", wheel, "--yes", "--tier", "core", "--expires", "2099-01-01", "--dry-run", *named)
    said = world.stage.run(*words, "--policy", world.stage.host, *world.signing("carol"))
    assert said["dry_run"] is True
    with pytest.raises(Refused) as caught:
        world.stage.run(*words, "--policy", world.stage.host, *world.signing("eve"))
    assert caught.value.code in ("signature.identity", "signature.unknown-signer")
    assert wheel.with_name(f"{wheel.name}.attestations.jsonl").read_bytes() == before


def test_a_rehearsal_of_attesting_asks_no_service(world: World, tmp_path: Path) -> None:
    world.stage.run("host", "sync", deployment=world.stage.host)
    words: tuple[str | Path, ...] = ("attest", world.source, "-o", tmp_path / "dist", "--once")
    words = (*words, "--build-wheelhouse", world.house, "--dry-run", "--policy", world.stage.host)
    with world.sigstore.failing("/api/v2/signingCert"):
        said = world.stage.run(*words, *world.signing("ci"))
        assert said["dry_run"] is True
        with pytest.raises(Refused) as caught:
            world.stage.run(*words, *world.signing("ci", repository_id="4712"))
    assert caught.value.code == "signature.identity"
    assert "4712" in caught.value.found
    assert not (tmp_path / "dist").exists()
