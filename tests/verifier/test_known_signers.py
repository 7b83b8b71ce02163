"""That a head was signed is known for exactly its bytes and keys, and nothing else is spared for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from loadlock.testing.documents import Documents
from loadlock.testing.repository import TufRepository
from tests.hosts import HostedDeployment, code_of
from tests.verifier.kept_entries import OPEN_MODES, POISONS, entry_of, exchange
from tests.verifier.publisher import (
    ED25519,
    HOUR,
    IDS,
    NOW,
    P256,
    SECOND,
    STRANGER,
    Ground,
    Publisher,
    code,
    policy,
    signed,
)
from verifier.deployment.trust import verify_trust
from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.policy import Policy, dump_policy, parse_policy
from verifier.private_cache import PrivateCache
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import open_list
from verifier.signatures import known_signers
from verifier.signatures.known_signers import KnownSigners


class Host:
    """One that opens lists with a cache, and tells which were verified."""

    def __init__(self, place: Path, publisher: Publisher) -> None:
        self.place, self.publisher = place, publisher
        self.ground = Ground(policy(), publisher.checkpoint(base=[1, 2, 3]))

    def open(self, head: bytes, now: datetime = NOW, under: Policy | None = None) -> RevocationList:
        """Open a list as a start does that has the cache."""
        ground = self.ground if under is None else replace(self.ground, policy=under)
        return open_list(head, self.publisher, ground, now, signed_by=KnownSigners(PrivateCache(self.place)))

    def verifies(self, head: bytes, under: Policy | None = None) -> bool:
        """Whether a head was verified and not known; what comes of it is the same in either case."""
        verified = []

        def watched(*of: object) -> object:
            verified.append(of)
            return verify(*of)  # type: ignore[arg-type]

        verify = known_signers.signed_by
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(known_signers, "signed_by", watched)
            found = self.open(head, under=under)
        assert found.head == open_list(head, self.publisher, self.ground, NOW).head
        return bool(verified)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "cache", Publisher())


@pytest.fixture
def head(host: Host) -> bytes:
    return signed(host.publisher.head([]))


def test_the_same_is_verified_once(host: Host, head: bytes) -> None:
    assert [host.verifies(head) for _ in range(3)] == [True, False, False]


def with_signature(head: bytes, **changes: object) -> bytes:
    envelope = dsse.parse_envelope(head)
    (signature,) = envelope.signatures
    return dsse.dump_envelope(
        msgspec.structs.replace(envelope, signatures=(msgspec.structs.replace(signature, **changes),))
    )


def with_payload(head: bytes, old: bytes, new: bytes) -> bytes:
    envelope = dsse.parse_envelope(head)
    assert old in envelope.unverified_payload
    return dsse.dump_envelope(
        msgspec.structs.replace(envelope, unverified_payload=envelope.unverified_payload.replace(old, new))
    )


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "the payload": lambda head: with_payload(head, b'"seq": 10', b'"seq": 11'),
    "the signature": lambda head: with_signature(head, sig=bytes(64)),
    "the type": lambda head: head.replace(dsse.HEAD.encode(), dsse.ENROLMENT.encode()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_is_verified_and_refused(change: str, host: Host, head: bytes) -> None:
    host.open(head)
    changed = CHANGES[change](head)
    assert changed != head
    assert code(lambda: host.open(changed)) == "list.signature"


def test_another_key_id_is_another_entry(host: Host, head: bytes) -> None:
    host.open(head)
    assert host.verifies(with_signature(head, keyid="another"))


def without(known: Policy, key: object) -> Policy:
    left = tuple(head_key for head_key in known.head_keys if head_key.key != IDS[key])  # type: ignore[index]
    return msgspec.structs.replace(known, head_keys=left)


def test_under_other_keys_it_is_verified_again(host: Host, head: bytes) -> None:
    host.open(head)
    assert host.verifies(head, under=without(policy(), P256))
    assert code(lambda: host.open(head, under=without(policy(), ED25519))) == "list.signature"


def test_another_key_under_the_id_of_the_one_that_signed(host: Host, head: bytes) -> None:
    """A policy that says so is refused when it is read; nor does what is kept speak for it."""
    host.open(head)
    known = policy()
    lying = msgspec.structs.replace(known, keys={**known.keys, IDS[ED25519]: known.keys[IDS[P256]]})
    assert code(lambda: host.open(head, under=lying)) == "list.signature"


def test_a_head_by_a_stranger_is_refused_each_time_and_nothing_kept(host: Host) -> None:
    head = signed(host.publisher.head([]), STRANGER)
    assert [code(lambda: host.open(head)) for _ in range(2)] == ["list.signature"] * 2
    assert [path.name for path in host.place.iterdir()] == ["key"]


def test_the_time_is_judged_each_time(host: Host, head: bytes) -> None:
    host.open(head)
    ended = policy(ed25519=NOW + SECOND)
    assert code(lambda: host.open(head, NOW + SECOND, under=ended)) == "list.key-expired"
    assert code(lambda: host.open(head, NOW - 100 * HOUR)) == "list.future"
    known = host.open(head, NOW + 50 * HOUR)
    assert code(lambda: known.freshness(NOW + 50 * HOUR, timedelta(0))) == "list.stale"


def test_the_end_of_each_key_is_judged_each_time(host: Host) -> None:
    both = signed(host.publisher.head([]), ED25519, P256)
    host.open(both)
    host.open(both, under=policy(ed25519=NOW - SECOND))  # the other one lasts
    over = policy(ed25519=NOW - SECOND, p256=NOW)
    assert code(lambda: host.open(both, under=over)) == "list.key-expired"


def test_deployment_and_epoch_are_judged_each_time(host: Host, head: bytes) -> None:
    host.open(head)
    globex = msgspec.structs.replace(policy(), deployment="globex")
    assert code(lambda: host.open(head, under=globex)) == "list.deployment"
    host.ground = replace(host.ground, checkpoint=host.publisher.checkpoint(base=[1, 2, 3], epoch=8))
    assert code(lambda: host.open(head)) == "list.epoch"


def test_other_code_verifies_again(host: Host, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    host.open(head)
    monkeypatch.setattr(known_signers, "this_code", lambda: b"other")
    assert host.verifies(head)


def keep_another(place: Path) -> None:
    """Open another list, whose head another key has signed."""
    host = Host(place, Publisher())
    host.open(signed(host.publisher.head([]), P256))


@pytest.mark.parametrize("poison", POISONS)
def test_attack_53_an_entry_that_is_not_authentic_is_none(poison: str, host: Host, head: bytes) -> None:
    host.open(head)
    POISONS[poison](entry_of(host.place))
    assert host.verifies(head)


def test_attack_53_an_entry_of_another_head_is_none(host: Host, head: bytes) -> None:
    host.open(head)
    exchange(entry_of(host.place), keep_another)
    assert host.verifies(head)


@pytest.mark.parametrize("mode", OPEN_MODES)
def test_a_cache_that_others_may_enter_is_not_asked(mode: int, host: Host, head: bytes) -> None:
    host.open(head)
    host.place.chmod(mode)
    assert host.verifies(head)


# -- the keys of a policy, which are known to be keys as soon as it is known to be signed ------------------------------


def test_a_policy_with_a_key_that_is_none_is_refused_each_time(tmp_path: Path) -> None:
    documents = Documents()
    right = parse_policy(documents.policy(NOW))
    (name,) = right.keys
    key = msgspec.structs.replace(right.keys[name], alg="ecdsa-p256")
    wrong = dump_policy(msgspec.structs.replace(right, keys={name: key}))
    repo = TufRepository(NOW, wrong, documents.checkpoint())
    for cache in (None, PrivateCache(tmp_path), PrivateCache(tmp_path)):
        with pytest.raises(Refused) as refusal:
            verify_trust(repo.pinned, *repo.state(), cache)
        assert refusal.value.code == "trust.policy"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


# -- a host that starts anew -------------------------------------------------------------------------------------------


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def test_age_and_rollback_are_judged_at_each_start(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel, record = hosted.plugin(), hosted.directory / "state.json"
    hosted.gate(cache=tmp_path / "cache").verify(wheel)
    old = json.loads(record.read_bytes())
    kept = {path: path.read_bytes() for path in (hosted.directory / "lists/heads").iterdir()}
    hosted.revoke(wheel)
    hosted.refresh()
    assert code_of(lambda: hosted.gate(cache=tmp_path / "cache").verify(wheel)) == "revoked.artifact"
    new = json.loads(record.read_bytes())
    for path, content in kept.items():
        path.write_bytes(content)
    record.write_text(json.dumps({**new, "head": old["head"]}))
    assert code_of(lambda: hosted.gate(cache=tmp_path / "cache")) == "list.rollback"
    record.write_text(json.dumps(new))
    hosted.pass_time(timedelta(days=20))
    assert code_of(lambda: hosted.gate(cache=tmp_path / "cache").verify(wheel)) == "list.stale"
