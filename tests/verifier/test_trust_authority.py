"""The walk from the pinned root: who may sign what, and what the online roles have to list."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from loadlock.testing.repository import CHECKPOINT, POLICY, TufRepository
from tests.verifier.repositories import NOW, Alias, Edit, refusal, repository
from verifier.deployment import tuf_chain

# -- signatures and thresholds ----------------------------------------------------------------------------------------


def one_checkpoint_signer(repo: TufRepository) -> None:
    repo.publish_checkpoints(NOW, [repo.signers["checkpoint-1"]])


def one_signer_twice(repo: TufRepository) -> None:
    repo.publish_checkpoints(NOW, [repo.signers["checkpoint-1"]] * 2)


def strangers_sign_the_checkpoint(repo: TufRepository) -> None:
    repo.publish_checkpoints(NOW, [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()])


def one_key_under_two_ids(repo: TufRepository, spell: Callable[[str], str] = str) -> None:
    signer = repo.signers["checkpoint-1"]
    other = Alias(signer, spell)
    delegations = repo.targets.delegations
    assert delegations is not None
    assert delegations.roles is not None
    delegations.keys["alias"] = other.public_key
    delegations.roles["checkpoints"].keyids.append("alias")
    repo.publish_targets(NOW)
    repo.publish_checkpoints(NOW, [signer, other])


def one_key_under_two_ids_in_other_digits(repo: TufRepository) -> None:
    one_key_under_two_ids(repo, str.upper)


def delegated(repo: TufRepository, **changes: object) -> None:
    assert repo.targets.delegations is not None
    assert repo.targets.delegations.roles is not None
    for name, value in changes.items():
        setattr(repo.targets.delegations.roles["checkpoints"], name, value)
    repo.publish_targets(NOW)


def threshold_of_one(repo: TufRepository) -> None:
    delegated(repo, threshold=1)
    one_checkpoint_signer(repo)


def threshold_of_one_though_two_signed(repo: TufRepository) -> None:
    delegated(repo, threshold=1)


def no_delegation(repo: TufRepository) -> None:
    repo.targets.delegations = None
    repo.publish_targets(NOW)


def delegation_of_another_name(repo: TufRepository) -> None:
    assert repo.targets.delegations is not None
    assert repo.targets.delegations.roles is not None
    role = repo.targets.delegations.roles.pop("checkpoints")
    role.name = "others"
    repo.targets.delegations.roles["others"] = role
    repo.publish_targets(NOW)


def delegation_of_other_paths(repo: TufRepository) -> None:
    delegated(repo, paths=["others/*"])


def delegation_without_keys(repo: TufRepository) -> None:
    delegated(repo, keyids=[])


def delegation_to_a_key_that_is_not_there(repo: TufRepository) -> None:
    assert repo.targets.delegations is not None
    repo.targets.delegations.keys.popitem()
    repo.publish_targets(NOW)


def checkpoint_past_the_delegation(repo: TufRepository) -> None:
    repo.set_target(repo.targets, CHECKPOINT, b'{"checkpoint":1}')
    repo.publish_targets(NOW)


def policy_by_a_stranger(repo: TufRepository) -> None:
    repo.publish_targets(NOW, [CryptoSigner.generate_ed25519()])


def policy_by_the_online_key(repo: TufRepository) -> None:
    repo.publish_targets(NOW, [repo.signers["online"]])


def policy_unsigned(repo: TufRepository) -> None:
    repo.targets.version += 1
    repo.metadata["targets.json"] = Metadata(repo.targets).to_bytes()


def policy_by_md5(repo: TufRepository) -> None:
    repo.targets.targets[POLICY] = TargetFile.from_data(POLICY, repo.targets_files[POLICY], ["md5"])
    repo.publish_targets(NOW)


def policy_not_listed(repo: TufRepository) -> None:
    del repo.targets.targets[POLICY]
    repo.publish_targets(NOW)


def checkpoint_not_listed(repo: TufRepository) -> None:
    del repo.checkpoints.targets[CHECKPOINT]
    repo.publish_checkpoints(NOW)


def unknown_kind_of_key(repo: TufRepository) -> None:
    signer = CryptoSigner.generate_rsa(size=2048)
    delegations = repo.targets.delegations
    assert delegations is not None
    assert delegations.roles is not None
    delegations.keys[signer.public_key.keyid] = signer.public_key
    delegations.roles["checkpoints"].keyids[0] = signer.public_key.keyid
    repo.publish_targets(NOW)
    repo.publish_checkpoints(NOW, [signer, repo.signers["checkpoint-2"]])


@pytest.mark.parametrize(
    "edit",
    [
        one_checkpoint_signer,
        one_signer_twice,
        strangers_sign_the_checkpoint,
        one_key_under_two_ids,
        one_key_under_two_ids_in_other_digits,
        threshold_of_one,
        threshold_of_one_though_two_signed,
        no_delegation,
        delegation_of_another_name,
        delegation_of_other_paths,
        delegation_without_keys,
        delegation_to_a_key_that_is_not_there,
        checkpoint_past_the_delegation,
        policy_by_a_stranger,
        policy_by_the_online_key,
        policy_unsigned,
        policy_by_md5,
        policy_not_listed,
        checkpoint_not_listed,
    ],
)
def test_too_little_or_the_wrong_authority_is_refused(edit: Edit) -> None:
    repo = repository()
    edit(repo)
    repo.publish_online(NOW)
    assert refusal(repo).code == "trust.metadata"


def test_a_kind_of_key_beyond_the_two_is_refused_by_name() -> None:
    repo = repository()
    unknown_kind_of_key(repo)
    repo.publish_online(NOW)
    error = refusal(repo)
    assert error.code == "trust.metadata"
    assert "unknown kind: 'rsa'" in error.found


def test_a_role_of_more_keys_than_the_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuf_chain, "KEYS_LIMIT", 1)
    error = refusal(repository())
    assert error.code == "trust.root"
    assert "more than 1" in error.found


# -- what the online roles list ---------------------------------------------------------------------------------------


def online_role_by_a_stranger(repo: TufRepository) -> None:
    repo.signers["online"] = CryptoSigner.generate_ed25519()
    repo.publish_online(NOW)


def snapshot_without_checkpoints(repo: TufRepository) -> None:
    del repo.snapshot.meta["checkpoints.json"]


def snapshot_without_targets(repo: TufRepository) -> None:
    del repo.snapshot.meta["targets.json"]


def snapshot_without_hash(repo: TufRepository) -> None:
    repo.snapshot.meta["targets.json"] = MetaFile(repo.targets.version, length=len(repo.metadata["targets.json"]))


def snapshot_without_length(repo: TufRepository) -> None:
    repo.snapshot.meta["targets.json"].length = None


def snapshot_of_another_version(repo: TufRepository) -> None:
    repo.snapshot.meta["targets.json"].version += 1


@pytest.mark.parametrize(
    "edit",
    [
        snapshot_without_checkpoints,
        snapshot_without_targets,
        snapshot_without_hash,
        snapshot_without_length,
        snapshot_of_another_version,
    ],
)
def test_a_snapshot_that_does_not_pin_its_roles_is_refused(edit: Edit) -> None:
    repo = repository()
    edit(repo)
    repo.publish_snapshot(NOW)
    repo.publish_timestamp(NOW)
    assert refusal(repo).code == "trust.metadata"


def test_online_roles_signed_by_a_stranger_are_refused() -> None:
    repo = repository()
    online_role_by_a_stranger(repo)
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, 2**70])
def test_a_version_that_is_no_positive_integer_is_refused(version: object) -> None:
    repo = repository()
    document = json.loads(repo.metadata["timestamp.json"])
    document["signed"]["version"] = version
    if isinstance(version, bool):  # the one that survives parsing: sign it properly
        metadata = Metadata.from_dict(document)
        metadata.sign(repo.signers["online"])
        repo.metadata["timestamp.json"] = metadata.to_bytes()
    else:
        repo.metadata["timestamp.json"] = json.dumps(document).encode()
    assert refusal(repo).code == "trust.metadata"


def test_an_edited_timestamp_is_refused() -> None:
    repo = repository()
    repo.metadata["timestamp.json"] = repo.metadata["timestamp.json"].replace(b'"version":1}', b'"version":9}')
    assert refusal(repo).code == "trust.metadata"
