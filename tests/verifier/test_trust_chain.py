"""The walk from the pinned root: files that were changed on disk, and what is accepted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from loadlock.testing.repository import CHECKPOINT, POLICY, TufRepository
from tests.verifier.repositories import NOW, ROLES, refusal, repository, rotated, verify
from verifier.deployment import tuf_chain
from verifier.deployment.tuf_chain import root_keys, verify_chain
from verifier.errors import Refused

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
