"""The walk from the pinned root: every attack of decision record 0003, refused with its code."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, TargetFile

from loadlock.testing.repository import CHECKPOINT, POLICY, TufRepository
from verifier.deployment import tuf_chain
from verifier.deployment.chain import Chain
from verifier.deployment.tuf_chain import root_keys, verify_chain
from verifier.errors import Refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Edit = Callable[[TufRepository], object]
ROLES = ("timestamp.json", "snapshot.json", "targets.json", "checkpoints.json")


def repository() -> TufRepository:
    return TufRepository(NOW, b'{"policy":1}', b'{"checkpoint":1}')


def verify(repo: TufRepository) -> Chain:
    return verify_chain(repo.pinned, *repo.state())


def refusal(repo: TufRepository) -> Refused:
    with pytest.raises(Refused) as caught:
        verify(repo)
    return caught.value


# -- files on disk are changed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_a_file_swapped_for_an_older_validly_signed_one_is_refused(name: str) -> None:
    repo = repository()
    older = dict(repo.metadata)
    repo.publish_policy(NOW, b'{"policy":2}')
    repo.metadata[name] = older[name]
    assert refusal(repo).code == "trust.metadata"


def test_an_older_checkpoint_metadata_is_refused() -> None:
    repo = repository()
    older = repo.metadata["checkpoints.json"]
    repo.publish_checkpoint(NOW, b'{"checkpoint":2}')
    repo.metadata["checkpoints.json"] = older
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_truncated_file_is_refused(name: str, kept: int) -> None:
    repo = repository()
    repo.metadata[name] = repo.metadata[name][:kept]
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize("name", ROLES)
def test_a_missing_file_is_refused_and_named(name: str) -> None:
    repo = repository()
    del repo.metadata[name]
    error = refusal(repo)
    assert error.code == "trust.metadata"
    assert name in error.found


@pytest.mark.parametrize("path", [POLICY, CHECKPOINT])
def test_a_missing_target_is_refused_and_named(path: str) -> None:
    repo = repository()
    del repo.targets_files[path]
    error = refusal(repo)
    assert error.code == "trust.metadata"
    assert path in error.found


@pytest.mark.parametrize("first", ROLES)
@pytest.mark.parametrize("second", ROLES)
def test_the_files_of_two_roles_exchanged_are_refused(first: str, second: str) -> None:
    if first >= second:
        return
    repo = repository()
    repo.metadata[first], repo.metadata[second] = repo.metadata[second], repo.metadata[first]
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize("path", [POLICY, CHECKPOINT])
@pytest.mark.parametrize("change", [lambda data: data[:-1] + b" ", lambda data: data + b" ", lambda data: b""])
def test_a_replaced_target_is_refused(path: str, change: Callable[[bytes], bytes]) -> None:
    repo = repository()
    repo.targets_files[path] = change(repo.targets_files[path])
    assert refusal(repo).code == "trust.metadata"


def test_policy_and_checkpoint_exchanged_are_refused() -> None:
    repo = repository()
    files = repo.targets_files
    files[POLICY], files[CHECKPOINT] = files[CHECKPOINT], files[POLICY]
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize(
    "name", ["x.json", "root.json", "0.root.json", "01.root.json", "../2.root.json", "2.root.json\n"]
)
def test_a_file_of_unknown_name_is_refused(name: str) -> None:
    repo = repository()
    repo.metadata[name] = repo.pinned
    assert refusal(repo).code == "trust.metadata"


def test_a_target_of_unknown_name_is_refused() -> None:
    repo = repository()
    repo.targets_files["other.json"] = b"{}"
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize("name", ROLES)
def test_an_oversized_file_is_refused_before_it_is_read(name: str) -> None:
    repo = repository()
    repo.metadata[name] += b" " * 512_000
    error = refusal(repo)
    assert error.code == "trust.metadata"
    assert "too large" in error.what


def test_an_oversized_target_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuf_chain, "FILE_LIMIT", 8)
    assert "too large" in refusal(repository()).what


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"signed":{},"signatures":[]}',
        b'{"signed":{"_type":"timestamp"},"signatures":[]}',
        b'{"signed":{"_type":"\\u0007mirror"},"signatures":[]}',
        b'{"signed":' + b"[" * 8_000,
    ],
)
def test_a_timestamp_that_is_no_timestamp_is_refused_in_printable_words(data: bytes) -> None:
    repo = repository()
    repo.metadata["timestamp.json"] = data
    error = refusal(repo)
    assert error.code == "trust.metadata"
    assert error.found.isprintable()


def test_duplicate_keys_around_the_signed_part_are_refused() -> None:
    repo = repository()
    repo.metadata["timestamp.json"] = b'{"signed":{},' + repo.metadata["timestamp.json"][1:]
    assert refusal(repo).code == "trust.metadata"


@pytest.mark.parametrize("name", ROLES)
def test_every_flipped_byte_is_refused_or_changes_nothing(name: str) -> None:
    repo = repository()
    original, expected = repo.metadata[name], verify(repo)
    for index in range(0, len(original), 11):
        repo.metadata[name] = original[:index] + bytes([original[index] ^ 1]) + original[index + 1 :]
        try:
            found = verify(repo)
        except Refused as error:
            assert error.code == "trust.metadata"
        else:  # a flipped key name outside the signed part, or a base64 character of no meaning
            assert name == "timestamp.json"
            assert found == expected


# -- signatures and thresholds ----------------------------------------------------------------------------------------


class Alias(Signer):
    """A signer whose key stands under another key id, perhaps in another spelling."""

    def __init__(self, signer: CryptoSigner, spell: Callable[[str], str] = str) -> None:
        self.signer = signer
        key = signer.public_key
        self.key = SSlibKey("alias", key.keytype, key.scheme, {"public": spell(key.keyval["public"])})

    @property
    def public_key(self) -> Key:
        return self.key

    def sign(self, payload: bytes) -> Signature:
        return Signature("alias", self.signer.sign(payload).signature)

    @classmethod
    def from_priv_key_uri(cls, *_: object, **__: object) -> Alias:
        raise NotImplementedError


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


# -- roots ------------------------------------------------------------------------------------------------------------


def rotated() -> TufRepository:
    repo = repository()
    for _ in range(3):
        repo.rotate_root_key(NOW)
    return repo


def root_missing(repo: TufRepository) -> None:
    del repo.roots[3]


def root_missing_at_the_start(repo: TufRepository) -> None:
    del repo.roots[2]


def root_skipped(repo: TufRepository) -> None:
    repo.roots[2] = repo.roots[3]


def root_stands_twice(repo: TufRepository) -> None:
    repo.roots[5] = repo.roots[4]


def root_truncated(repo: TufRepository) -> None:
    repo.roots[3] = repo.roots[3][:-30]


def root_is_a_timestamp(repo: TufRepository) -> None:
    repo.roots[5] = repo.metadata["timestamp.json"]


def root_by_new_keys_only(repo: TufRepository) -> None:
    old = repo.signers["root-1"]
    for name in ("root-1", "root-2"):
        repo.root.revoke_key(repo.signers[name].public_key.keyid, "root")
        repo.signers[name] = CryptoSigner.generate_ed25519()
        repo.root.add_key(repo.signers[name].public_key, "root")
    assert old is not repo.signers["root-1"]
    repo.publish_root(NOW)


def root_by_old_keys_only(repo: TufRepository) -> None:
    old = (repo.signers["root-1"], repo.signers["root-2"])
    for signer in old:
        repo.root.revoke_key(signer.public_key.keyid, "root")
        repo.root.add_key(CryptoSigner.generate_ed25519().public_key, "root")
    repo.publish_root(NOW, signers=old)


def root_by_one_signer(repo: TufRepository) -> None:
    repo.publish_root(NOW, signers=[repo.signers["root-1"]])


def root_by_one_signer_twice(repo: TufRepository) -> None:
    repo.publish_root(NOW, signers=[repo.signers["root-1"]] * 2)


def root_names_one_key_twice(repo: TufRepository) -> None:
    repo.root.add_key(Alias(repo.signers["root-1"]).public_key, "root")
    repo.publish_root(NOW)


def online_key_signs_the_policy_too(repo: TufRepository) -> None:
    repo.root.add_key(repo.signers["online"].public_key, "targets")
    repo.publish_root(NOW)


def online_key_is_a_root_key(repo: TufRepository) -> None:
    repo.root.add_key(repo.signers["online"].public_key, "root")
    repo.publish_root(NOW)


def online_key_signs_checkpoints(repo: TufRepository) -> None:
    assert repo.targets.delegations is not None
    repo.targets.add_key(repo.signers["online"].public_key, "checkpoints")
    repo.publish_targets(NOW)
    repo.publish_online(NOW)


@pytest.mark.parametrize(
    "edit",
    [
        root_missing,
        root_missing_at_the_start,
        root_skipped,
        root_stands_twice,
        root_truncated,
        root_is_a_timestamp,
        root_by_new_keys_only,
        root_by_old_keys_only,
        root_by_one_signer,
        root_by_one_signer_twice,
        root_names_one_key_twice,
        online_key_signs_the_policy_too,
        online_key_is_a_root_key,
        online_key_signs_checkpoints,
    ],
)
def test_a_broken_chain_of_roots_is_refused(edit: Edit) -> None:
    repo = rotated()
    edit(repo)
    assert refusal(repo).code == "trust.root"


def test_a_stored_root_at_or_below_the_pinned_one_is_refused() -> None:
    repo = rotated()
    with pytest.raises(Refused) as caught:
        verify_chain(repo.roots[3], repo.local_metadata(pinned=2), repo.targets_files)
    assert caught.value.code == "trust.root"


def test_more_roots_than_the_cap_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuf_chain, "ROOTS_LIMIT", 2)
    assert refusal(rotated()).code == "trust.root"


def test_another_deployments_repository_is_refused_under_this_root() -> None:
    with pytest.raises(Refused) as caught:
        verify_chain(repository().pinned, *repository().state())
    assert caught.value.code == "trust.metadata"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"signed":1,"signatures":[]}', b"x" * 600_000])
def test_a_pinned_root_that_is_no_root_is_refused(data: bytes) -> None:
    for call in (lambda: verify_chain(data, *repository().state()), lambda: root_keys(data)):
        with pytest.raises(Refused) as caught:
            call()
        assert caught.value.code == "trust.root"


def test_a_pinned_root_that_is_not_signed_by_its_own_threshold_is_refused() -> None:
    metadata: Metadata[Root] = Metadata.from_bytes(repository().pinned)
    metadata.signatures.popitem()
    with pytest.raises(Refused) as caught:
        root_keys(metadata.to_bytes())
    assert caught.value.code == "trust.root"


# -- what is accepted -------------------------------------------------------------------------------------------------


def test_a_whole_repository_verifies_without_network_whatever_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", no_network)
    repo = TufRepository(datetime(1999, 1, 1, tzinfo=UTC), b"p", b"c")  # everything in it expired long ago
    chain = verify(repo)
    assert (chain.policy, chain.checkpoint) == (b"p", b"c")
    assert chain.roles["timestamp"].expires == datetime(1999, 1, 2, tzinfo=UTC)
    assert set(chain.roles) == {"root", "timestamp", "snapshot", "targets", "checkpoints"}


def test_rotations_and_later_publications_verify_from_any_pinned_root() -> None:
    repo = rotated()
    repo.rotate_online_key(NOW)
    repo.publish_policy(NOW + timedelta(days=1), b"p2")
    repo.publish_checkpoint(NOW + timedelta(days=2), b"c2")
    for pinned in (1, 3, 5):
        chain = verify_chain(repo.roots[pinned], repo.local_metadata(pinned), repo.targets_files)
        assert {name: facts.version for name, facts in chain.roles.items()} == {
            "root": 5,
            "timestamp": 4,
            "snapshot": 4,
            "targets": 2,
            "checkpoints": 2,
        }


def test_p256_keys_are_accepted() -> None:
    repo = repository()
    signer = CryptoSigner.generate_ecdsa()
    repo.root.revoke_key(repo.signers["root-2"].public_key.keyid, "root")
    repo.root.add_key(signer.public_key, "root")
    repo.publish_root(NOW, signers=[repo.signers["root-1"], repo.signers["root-2"], signer])
    assert verify(repo).roles["root"].version == 2
    keys = root_keys(repo.roots[2])
    assert sorted(key.alg for key in keys.keys) == ["ecdsa-p256", "ed25519"]
    assert keys.threshold == 2
