"""Dry runs, and being held against a policy before anything is signed or sent."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attestor.commands.places import WheelFiles
from attestor.signing.signers import public_pem
from tests.attestor.test_cli import Recorder, code_of, run
from tests.hosts import HostedDeployment
from verifier.deployment.chain import POLICY
from verifier.formats.bundle import parse_set
from verifier.judging.evidence import verified_payload
from verifier.signatures.private_keys import PrivateKey

NO_PROVENANCE = {"core": ["sbom", "certification"], "vetted": ["sbom", "certification"], "untrusted": ["sbom"]}


@dataclass
class Release:
    """A wheel of ``sample-plugin``, built elsewhere, and everybody's keys."""

    hosted: HostedDeployment
    place: Path
    wheel: Path

    @property
    def files(self) -> WheelFiles:
        """What attesting makes."""
        return WheelFiles(self.place / "dist" / self.wheel.name)

    def key(self, name: str) -> list[object]:
        return ["--key", self.place / f"{name}.pem"]

    def attest(self, *options: object, by: str = "builder") -> list[object]:
        words = ["attest", "--wheel", self.wheel, "--manifest", self.place / "manifest.json"]
        return [*words, "-o", self.place / "dist", *self.key(by), *options]

    def endorse(self, *options: object, by: str = "owner") -> list[object]:
        return ["endorse", self.files.wheel, *self.key(by), "--builder-key", self.place / "builder.pub", *options]

    def certify(self, *options: object, by: str = "certifier", tier: str = "core") -> list[object]:
        words = ["certify", self.files.wheel, "--tier", tier, "--expires", "2999-01-01", *self.key(by)]
        known = [w for role in ("builder", "owner") for w in (f"--{role}-key", self.place / f"{role}.pub")]
        return [*words, *known, *options]

    @property
    def policy(self) -> list[object]:
        return ["--policy", self.hosted.directory]


def done(words: list[object]) -> Recorder:
    return run(str(words[0]), *words[1:])


def refused(words: list[object]) -> str:
    return code_of(str(words[0]), *words[1:])


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    monkeypatch.chdir(tmp_path)
    for variable in ("LOADLOCK_KEY", "LOADLOCK_DEPLOYMENT", "LOADLOCK_SERVER", "LOADLOCK_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    with HostedDeployment(tmp_path) as hosted:
        del hosted.sim.rules["plugins"]["sample_plugin"]["source"]
        for tier, needs in NO_PROVENANCE.items():
            hosted.policy(f"tiers.{tier}.require", needs)
        hosted.refresh()
        for name, person in hosted.sim.people.items():
            PrivateKey(person._key).write(tmp_path / f"{name}.pem")
            (tmp_path / f"{name}.pub").write_bytes(public_pem(person.public))
        wheel = hosted.sim.wheel()
        (tmp_path / wheel.file_name).write_bytes(wheel.data)
        (tmp_path / "manifest.json").write_text(json.dumps(hosted.sim.declaration(wheel) | {"host_provided": []}))
        yield Release(hosted, tmp_path, tmp_path / wheel.file_name)


@pytest.fixture
def endorsed(release: Release) -> Release:
    done(release.attest())
    done(release.endorse())
    return release


# -- attest: refused before anything is signed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "code"), [("stranger", "signature.unknown-signer"), ("other-builder", "signature.wrong-signer")]
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_key_that_may_not_build_it_is_refused(release: Release, by: str, code: str, dry: bool) -> None:
    assert refused(release.attest(*release.policy, *(["--dry-run"] if dry else []), by=by)) == code
    assert not (release.place / "dist").exists()


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("plugins.sample_plugin.min_version", "2.0", "decision.min-version"),
        ("plugins.sample_plugin.owners", ["other-owner"], "signature.wrong-signer"),
        ("denied_plugins", ["sample_plugin"], "decision.denied"),
        ("principals.builder.status", "revoked", "signature.key-revoked"),
        ("principals.builder.status", "retired", "signature.key-retired"),
        ("host_api", "99", "manifest.api-version"),
    ],
)
def test_what_the_policy_refuses_at_every_tier_is_refused(release: Release, path: str, value: Any, code: str) -> None:
    release.hosted.policy(path, value)
    release.hosted.refresh()
    assert refused(release.attest(*release.policy)) == code
    assert not (release.place / "dist").exists()


def test_a_provenance_that_nobody_can_add_any_more_is_not_awaited(release: Release) -> None:
    for tier, needs in NO_PROVENANCE.items():
        release.hosted.policy(f"tiers.{tier}.require", [*needs, "provenance"])
    release.hosted.refresh()
    assert refused(release.attest(*release.policy)) == "set.statement-missing"


def test_an_artifact_that_is_revoked_is_refused(release: Release) -> None:
    release.hosted.revoke(release.wheel)
    release.hosted.refresh()
    assert refused(release.attest(*release.policy)) == "revoked.artifact"


def test_an_owner_whom_the_policy_does_not_know_is_refused(release: Release) -> None:
    manifest = json.loads((release.place / "manifest.json").read_text())
    (release.place / "manifest.json").write_text(json.dumps(manifest | {"owner": "nobody"}))
    assert refused(release.attest(*release.policy)) == "signature.unknown-signer"


@pytest.mark.parametrize("where", ["absent", "."])
def test_a_policy_that_is_not_there_is_refused(release: Release, where: str) -> None:
    assert refused(release.attest("--policy", where)) == "usage.arguments"


def test_a_former_key_does_not_sign_any_more(release: Release) -> None:
    people = release.hosted.sim.people
    old, new = people["builder"].public, people["stranger"].public
    release.hosted.policy(f"keys.{new.id}", {"alg": new.alg, "spki": new.entry.spki})
    former = [{"key": old.id, "status": "retired", "accepted": []}]
    release.hosted.policy("principals.builder", {"mode": "key", "key": new.id, "former": former})
    release.hosted.refresh()
    assert refused(release.attest(*release.policy)) == "signature.key-retired"


# -- endorse, certify, publish -----------------------------------------------------------------------------------------


def test_an_owner_of_another_plugin_is_refused(release: Release) -> None:
    done(release.attest())
    before = release.files.attestations.read_bytes()
    assert refused(release.endorse(*release.policy, by="other-owner")) == "signature.wrong-signer"
    assert refused(release.endorse("--dry-run", "--policy", release.hosted.directory, by="stranger")).startswith("sig")
    assert release.files.attestations.read_bytes() == before
    assert release.files.unsigned.exists()


def test_a_certifier_beyond_their_tier_is_refused(endorsed: Release) -> None:
    endorsed.hosted.policy("certifiers.certifier.max_tier", "vetted")
    endorsed.hosted.refresh()
    before = endorsed.files.attestations.read_bytes()
    assert refused(endorsed.certify(*endorsed.policy, "--yes")) == "certification.tier"
    assert endorsed.files.attestations.read_bytes() == before
    done(endorsed.certify(*endorsed.policy, "--yes", tier="vetted"))


def test_what_the_server_would_refuse_is_not_sent(endorsed: Release) -> None:
    words = ["publish", endorsed.files.wheel, "--server", "http://127.0.0.1:1", *endorsed.policy]
    endorsed.hosted.policy("plugins.sample_plugin.min_version", "2.0")
    endorsed.hosted.refresh()
    assert refused(words) == "decision.min-version"
    assert refused([*words, "--dry-run"]) == "decision.min-version"


# -- done --------------------------------------------------------------------------------------------------------------


def test_a_dry_run_of_attest_says_what_each_tier_would_and_writes_nothing(release: Release) -> None:
    release.hosted.policy("tiers.core.require", ["sbom", "certification", "test-result"])
    release.hosted.policy("tiers.vetted.maturities", ["deprecated"])
    release.hosted.refresh()
    before = sorted(release.place.iterdir())
    output = done(release.attest(*release.policy, "--dry-run"))
    assert sorted(release.place.iterdir()) == before
    tiers = output.value["policy"]["tiers"]
    assert {tier: said and said["code"] for tier, said in tiers.items()} == {
        "core": "set.statement-missing", "vetted": "decision.maturity", "untrusted": None,
    }  # fmt: skip
    told = "\n".join(output.lines)
    assert "core: awaits" in told
    assert "vetted: refused" in told
    assert "untrusted: allowed" in told
    assert "dry run: sign 1 statements as the builder" in output.lines[-1]


def test_a_dry_run_without_a_policy_says_so(release: Release) -> None:
    output = done(release.attest("--dry-run"))
    assert output.value["policy"] is None
    assert any("none to be held against" in line for line in output.lines)
    assert not (release.place / "dist").exists()


def test_a_dry_run_goes_by_the_deployment_that_is_enrolled(release: Release) -> None:
    output = done(release.attest("--dry-run", "--deployment", release.hosted.directory))
    assert output.value["policy"]["version"] >= 1


def test_a_dry_run_needs_no_pin(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOADLOCK_KEY_PIN", raising=False)
    words = release.attest(*release.policy, "--dry-run", "--public-key", release.place / "builder.pub")
    words[words.index("--key") + 1] = "hsm:7?label=token"
    assert done(words).value["signer"] == release.hosted.sim.people["builder"].public.id
    words[words.index("--key") + 1] = "hsm:7?pin-value=1"
    assert refused(words) == "usage.key"


def test_what_is_held_against_a_policy_is_signed_by_the_real_keys_alone(release: Release) -> None:
    people = release.hosted.sim.people
    done(release.attest(*release.policy))
    done(release.endorse(*release.policy))
    done(release.certify(*release.policy, "--yes"))
    bundles = parse_set(release.files.attestations.read_bytes())
    signers = [people[name].public for name in ("builder", "owner", "certifier")]
    assert [bundle.hint for bundle in bundles] == [key.hint for key in signers]
    certification = json.loads(verified_payload(bundles[-1], signers[-1]))["predicate"]
    home = release.hosted.home
    policy = home.stored_trust(home.state().trust or "").targets[POLICY]  # type: ignore[arg-type]
    assert certification["policy"]["digest"]["sha256"] == hashlib.sha256(policy.encode()).hexdigest()
    words = ["publish", release.files.wheel, "--server", "http://127.0.0.1:1", *release.policy, "--dry-run"]
    assert done(words).value["policy"]["tiers"] == {"core": None}


def test_dry_runs_of_owner_and_certifier_change_nothing(release: Release) -> None:
    done(release.attest())
    before = release.files.attestations.read_bytes()
    output = done(release.endorse(*release.policy, "--dry-run"))
    assert any("may talk to" in line for line in output.lines)
    assert (release.files.attestations.read_bytes(), release.files.unsigned.exists()) == (before, True)
    done(release.endorse())
    before = release.files.attestations.read_bytes()
    assert done(release.certify(*release.policy, "--dry-run")).value["policy"]["tiers"] == {"core": None}
    assert release.files.attestations.read_bytes() == before


def test_a_certification_is_renewed_under_a_policy(endorsed: Release) -> None:
    done(endorsed.certify("--yes"))
    done(endorsed.certify(*endorsed.policy, "--yes"))
    assert len(parse_set(endorsed.files.attestations.read_bytes())) == 3


def test_one_principal_does_not_build_and_own(release: Release) -> None:
    manifest = json.loads((release.place / "manifest.json").read_text())
    (release.place / "manifest.json").write_text(json.dumps(manifest | {"owner": "builder"}))
    release.hosted.policy("plugins.sample_plugin.owners", ["builder"])
    release.hosted.refresh()
    assert refused(release.attest(*release.policy)) == "roles.not-disjoint"
    done(release.attest())
    assert refused(release.endorse(*release.policy, by="builder")) == "roles.not-disjoint"


def test_a_disk_that_is_full_leaves_neither_wheel_nor_set(release: Release) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = release.wheel.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        assert refused(release.attest()) == "io.failed"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((release.place / "dist").iterdir()) == []
