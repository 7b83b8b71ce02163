"""The walk from the pinned root: roots that follow one another, and keys that must not be one."""

from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from loadlock.testing.repository import TufRepository
from tests.verifier.repositories import NOW, Alias, Edit, refusal, repository, rotated
from verifier.deployment import tuf_chain
from verifier.deployment.tuf_chain import root_keys, verify_chain
from verifier.errors import Refused


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
