"""Keyless signatures: who vouches for them and for their time, by the trusted root that the policy names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.sigstore import PrivateSigstore
from tests.sigstore.keys import b64
from tests.verifier.keyless_world import HOST, World, ended, joined, lines_of, swap_timestamps
from verifier.errors import PluginRevoked
from verifier.formats.text import Time
from verifier.judging.standing import check_standing


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PrivateSigstore]:
    """Another Sigstore, whose services have the same names and other keys."""
    with PrivateSigstore() as services:
        yield services


@pytest.fixture(scope="module")
def world(sigstore: PrivateSigstore) -> World:
    return World(sigstore)


@pytest.mark.parametrize(
    ("part", "index", "code"),
    [
        ("tlogs", 1, "signature.log"),
        ("ctlogs", 0, "signature.certificate"),
        ("certificateAuthorities", 0, "signature.certificate"),
        ("timestampAuthorities", 0, "signature.time"),
    ],
)
def test_what_had_ended_when_it_signed_counts_for_nothing(
    sigstore: PrivateSigstore, part: str, index: int, code: str
) -> None:
    world = World(sigstore)
    attestations = world.attest()
    world.root(ended(sigstore.trusted_root(), part, index))
    assert world.refusal(attestations).code == code


def test_what_ended_after_it_signed_still_counts(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = ended(sigstore.trusted_root(), "tlogs", 1)
    later = (datetime.now(UTC) + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    document["tlogs"][1]["publicKey"]["validFor"]["end"] = later
    world.root(document)
    world.verify(attestations)


def test_a_log_that_had_not_begun_counts_for_nothing(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = sigstore.trusted_root()
    document["tlogs"][1]["publicKey"]["validFor"]["start"] = "2100-01-01T00:00:00Z"
    world.root(document)
    assert world.refusal(attestations).code == "signature.log"


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("tlogs", "signature.log"),
        ("certificateAuthorities", "signature.certificate"),
        ("ctlogs", "signature.invalid"),
        ("timestampAuthorities", "signature.invalid"),
    ],
)
def test_what_another_sigstore_signed_counts_for_nothing(
    sigstore: PrivateSigstore, elsewhere: PrivateSigstore, part: str, code: str
) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = sigstore.trusted_root()
    document[part] = elsewhere.trusted_root()[part]
    if part == "certificateAuthorities":  # ours has the same name
        document[part] = document["timestampAuthorities"]
    world.root(document)
    assert world.refusal(attestations).code == code


def test_an_authority_of_the_same_name_is_not_the_same(sigstore: PrivateSigstore, elsewhere: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = sigstore.trusted_root()
    document["certificateAuthorities"] = elsewhere.trusted_root()["certificateAuthorities"]
    world.root(document)
    assert world.refusal(attestations).code == "signature.invalid"


def test_a_demanded_timestamp_has_to_be_there(sigstore: PrivateSigstore) -> None:
    world = World(sigstore, 1, timestamps=False)
    attestations = world.attest()
    world.verify(attestations)
    world.root(sigstore.trusted_root(), timestamp=True)
    refused = world.refusal(attestations)
    assert (refused.code, refused.found) == ("signature.time", "no timestamp")


def test_a_demanded_timestamp_is_believed_instead_of_the_log(sigstore: PrivateSigstore) -> None:
    world = World(sigstore, 1, timestamps=True)
    world.root(sigstore.trusted_root(), timestamp=True)
    lines = lines_of(world.attest())
    for line in lines:
        line["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "4000000000"
    world.verify(joined(lines))
    swap_timestamps(lines)
    assert world.refusal(joined(lines)).code == "signature.invalid"


def test_a_log_without_a_time_needs_a_timestamp(world: World) -> None:
    lines = lines_of(world.attest())
    for line in lines:
        del line["verificationMaterial"]["timestampVerificationData"]
    assert world.refusal(joined(lines)).code == "signature.time"


def test_a_time_that_the_log_did_not_state_is_refused(sigstore: PrivateSigstore) -> None:
    world = World(sigstore, 1, timestamps=False)
    lines = lines_of(world.attest())
    entry = lines[0]["verificationMaterial"]["tlogEntries"][0]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    assert world.refusal(joined(lines)).code == "signature.invalid"


@pytest.mark.parametrize("stamp", [b"", b"0\x00", b"0\x03\x02\x01\x05"])
def test_an_unreadable_timestamp_is_refused(world: World, stamp: bytes) -> None:
    lines = lines_of(world.attest())
    lines[0]["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] = b64(
        stamp
    )
    assert world.refusal(joined(lines)).code == ("signature.time" if stamp else "format.schema")


def test_a_principal_signs_until_its_end(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations, now = world.attest(), datetime.now(UTC)
    world.sim.policy("principals.builder.not_after", Time.of(now + timedelta(minutes=5)))
    plugin = world.verify(attestations)
    world.sim.policy("principals.builder.not_after", Time.of(now - timedelta(minutes=5)))
    refused = world.refusal(attestations)
    assert refused.code == "signature.key-retired"
    with pytest.raises(PluginRevoked) as caught:
        check_standing(plugin, world.sim.ground(), HOST)
    assert "signature.key-retired" in caught.value.found


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_the_status_of_an_identity_decides_as_that_of_a_key(sigstore: PrivateSigstore, status: str) -> None:
    world = World(sigstore)
    attestations = world.attest()
    world.sim.policy("principals.builder.status", status)
    assert world.refusal(attestations).code == f"signature.key-{status}"
    world.sim.policy("principals.builder.accepted", [world.wheel.digest])
    if status == "retired":
        world.verify(attestations)
    else:
        assert world.refusal(attestations).code == "signature.key-revoked"


# -- the trusted root itself ----------------------------------------------------------------------------------------


def test_a_trusted_root_that_is_none_is_refused_when_it_is_asked(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    for document in ({}, sigstore.trusted_root() | {"tlogs": []}, sigstore.trusted_root() | {"mediaType": "x"}):
        world.root(document)
        refused = world.refusal(attestations)
        assert (refused.code, refused.step) == ("trust.metadata", 4)


def test_only_the_trusted_root_that_the_policy_names_is_taken(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    repository = world.sim.repository
    repository.set_target(repository.targets, "trusted_root.private.json", b"{}")
    repository.publish_targets(world.sim.started)
    repository.publish_online(world.sim.started)
    refused = world.refusal(attestations)
    assert (refused.code, refused.step) == ("trust.metadata", 0)
    assert "not the one that the policy names" in refused.what


def test_a_trusted_root_is_verified_like_the_policy(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations, files = world.attest(), world.sim.repository.targets_files
    honest = files["trusted_root.private.json"]
    for change in (honest.replace(b"2", b"3", 1), None):
        if change is None:
            del files["trusted_root.private.json"]
        else:
            files["trusted_root.private.json"] = change
        assert world.refusal(attestations).code == "trust.metadata"
    files["trusted_root.private.json"] = honest
    files["trusted_root.other.json"] = honest  # nobody listed it
    assert world.refusal(attestations).code == "trust.metadata"
