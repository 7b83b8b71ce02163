"""Making a deployment: whole or not at all, and nothing that was there is touched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import crl_server.trust.initialise
from crl_server.trust.initialise import initialise
from tests.crl_server.deployments import ACTOR, DAY, NOW, made, plan
from verifier.deployment.enrolment import verify_enrolment
from verifier.errors import LoadlockError, Unreachable, UsageError
from verifier.formats.policy import Profile
from verifier.formats.text import Digest, Name, Time

pytestmark = pytest.mark.usefixtures("engine")


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    made(tmp_path / "there").close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a").write_text("b")
    (tmp_path / "file").write_text("c")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("there", "notes", "file"):
        with pytest.raises(UsageError) as caught:
            initialise(tmp_path / name, plan(), ACTOR, NOW)
        assert caught.value.code == "usage.exists"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Unreachable("io.failed", "the disk is full")

    monkeypatch.setattr(crl_server.trust.initialise, "write_atomic", full)
    with pytest.raises(Unreachable):
        initialise(tmp_path / "new", plan(), ACTOR, NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LoadlockError) as caught:
        initialise(tmp_path / "file" / "new", plan(), ACTOR, NOW)
    assert caught.value.code == "io.failed"


@pytest.mark.parametrize("profile", ["demo", "production"])
def test_a_new_deployment_is_complete_and_verifies(tmp_path: Path, profile: Profile) -> None:
    authority = made(tmp_path / "parent" / "new", profile)
    standing = authority.standing(NOW)
    assert standing.trust.policy.profile == profile
    assert standing.trust.policy.valid_until == Time.of(NOW + 30 * DAY)
    assert set(standing.trust.policy.tiers) == {"core", "vetted", "untrusted"}
    head = standing.revocations.head
    assert (head.deployment, head.epoch, head.seq, head.segments) == ("acme", 1, 0, ())
    assert authority.verify_audit(NOW).count == 3  # created, published, enrolment signed
    assert authority.warnings(NOW) == ()
    assert [path.name for path in (tmp_path / "parent").iterdir()] == ["new"]
    authority.close()


def test_keys_lie_apart_and_are_private(tmp_path: Path) -> None:
    made(tmp_path / "new", "production").close()
    folders = {"offline": 5, "online": 2}
    for folder, count in folders.items():
        keys = list((tmp_path / "new" / folder).iterdir())
        assert len(keys) == count
        assert (tmp_path / "new" / folder).stat().st_mode & 0o777 == 0o700
        assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert not (tmp_path / "new" / "principals").exists()
    assert (tmp_path / "new" / "server").stat().st_mode & 0o777 == 0o700


def test_the_demo_brings_signers_for_every_role(tmp_path: Path) -> None:
    authority = made(tmp_path / "new", "demo")
    policy = authority.standing(NOW).trust.policy
    assert set(policy.principals) == {"builder", "owner", "certifier"}
    assert policy.certifiers[Name("certifier")].max_tier == "core"
    assert {path.stem for path in (tmp_path / "new" / "principals").iterdir()} == set(policy.principals)
    authority.close()


def test_production_names_nobody_yet(tmp_path: Path) -> None:
    authority = made(tmp_path / "new", "production")
    policy = authority.standing(NOW).trust.policy
    assert (policy.principals, policy.plugins, policy.certifiers) == ({}, {}, {})
    authority.close()


def test_the_enrolment_bundle_is_signed_by_the_root_keys(tmp_path: Path) -> None:
    authority = made(tmp_path / "new")
    fingerprint = Digest(f"sha256:{hashlib.sha256(authority.repository.root(1)).hexdigest()}")
    enrolment = verify_enrolment(authority.layout.enrolment.read_bytes(), fingerprint)
    assert (enrolment.deployment, enrolment.server) == ("acme", "http://127.0.0.1:8600")
    floor = enrolment.floor
    assert (floor.root, floor.targets, floor.epoch, floor.seq) == (1, 1, 1, 0)
    authority.close()
