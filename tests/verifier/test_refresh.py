"""Refreshing against a real server that lies: whatever is refused, what was in force still is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Timestamp

from loadlock.testing.documents import Documents, sha256
from loadlock.testing.loopback import status
from loadlock.testing.repository import sign
from tests.live_deployment import LiveDeployment, digest
from verifier.deployment.home import Home
from verifier.errors import FormatError, LoadlockError, Refused, Unreachable
from verifier.formats.enrolment import Floor
from verifier.formats.revocations import PREFIX
from verifier.formats.text import Hex
from verifier.refreshing.refresh import TRUST_INTERVAL, Refresher, fetch_set, refresh

Attack = Callable[[LiveDeployment], object]


@pytest.fixture
def live() -> Iterator[LiveDeployment]:
    with LiveDeployment() as deployment:
        deployment.repository.publish_online(deployment.now)
        deployment.revoke(digest(1), digest(2))
        yield deployment


@pytest.fixture
def host(live: LiveDeployment, tmp_path: Path) -> Refresher:
    return live.host(tmp_path / "host")


def refused(live: LiveDeployment, host: Refresher, *, trust: bool | None = None) -> LoadlockError:
    """The error of the next pass, having seen that it changed nothing that counts."""
    before = host.home.state()
    with pytest.raises(LoadlockError) as caught:
        host.refresh(live.now, trust=trust)
    assert host.home.state() == before
    assert host.home.in_force(live.now).revocations.lists(Hex(digest(1)))
    assert not list(host.home.directory.glob(".staging-*"))
    return caught.value


# -- heads that lie ---------------------------------------------------------------------------------------------------


def head_of_a_stranger(live: LiveDeployment) -> None:
    live.documents.head_key = Ed25519PrivateKey.generate()
    live.revoke(digest(3))


def head_of_another_deployment(live: LiveDeployment) -> None:
    live.publish_head(deployment="other")


def head_rolled_back(live: LiveDeployment) -> None:
    live.revoked.pop()
    live.publish_head()


def head_forked(live: LiveDeployment) -> None:
    live.revoked[0] = digest(9)
    live.revoke(digest(3))


def head_forked_at_the_same_seq(live: LiveDeployment) -> None:
    live.revoked[0] = digest(9)
    live.publish_head()


def head_expired(live: LiveDeployment) -> None:
    live.revoke(digest(3))
    live.pass_time(timedelta(hours=7))


def head_of_the_future(live: LiveDeployment) -> None:
    live.pass_time(timedelta(minutes=6))
    live.revoke(digest(3))
    live.pass_time(-timedelta(minutes=6))


def head_of_the_epoch_before(live: LiveDeployment) -> None:
    live.publish_head(epoch=0)


def head_of_an_epoch_without_checkpoint(live: LiveDeployment) -> None:
    live.publish_head(epoch=2)


def head_that_asks_for_trust_nobody_has(live: LiveDeployment) -> None:
    live.publish_head(targets=7)


def head_of_another_payload_type(live: LiveDeployment) -> None:
    live.server.files["lists/head.json"] = live.documents.sign(b"{}", "application/vnd.in-toto+json")


def head_unsigned(live: LiveDeployment) -> None:
    envelope = json.loads(live.head)
    envelope["signatures"] = []
    live.server.files["lists/head.json"] = json.dumps(envelope).encode()


def head_edited(live: LiveDeployment) -> None:
    live.revoke(digest(3))
    live.server.files["lists/head.json"] = live.head.replace(b'"payload":"eyJ2I', b'"payload":"eyJ2J')


def head_truncated(live: LiveDeployment) -> None:
    live.server.files["lists/head.json"] = live.head[:-9]


def head_oversized(live: LiveDeployment) -> None:
    live.server.files["lists/head.json"] = live.head + b" " * 2_000_000


def segment_tampered(live: LiveDeployment) -> None:
    live.revoke(digest(3))
    for path in live.server.files:
        if path.startswith("lists/segments/"):
            live.server.files[path] = live.server.files[path][:-1] + b"\x07"


def segment_oversized(live: LiveDeployment) -> None:
    live.revoke(digest(3))
    for path in live.server.files:
        if path.startswith("lists/segments/"):
            live.server.files[path] += b"\x00" * 2_000_000


def rules_tampered(live: LiveDeployment) -> None:
    rules = live.documents.keep("rules", b'{"v":1,"rules":[{"id":"R1","kind":"signer","match":{},"reason":"r"}]}')
    live.publish_head(rules={"sha256": rules, "count": 1})
    live.server.files[f"lists/rules/{rules}"] = b'{"v":1,"rules":[]}'


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (head_of_a_stranger, "list.signature"),
        (head_of_another_deployment, "list.deployment"),
        (head_rolled_back, "list.rollback"),
        (head_forked, "list.fork"),
        (head_forked_at_the_same_seq, "list.fork"),
        (head_expired, "list.stale"),
        (head_of_the_future, "list.future"),
        (head_of_the_epoch_before, "format.schema"),
        (head_of_an_epoch_without_checkpoint, "list.epoch"),
        (head_that_asks_for_trust_nobody_has, "list.epoch"),
        (head_of_another_payload_type, "list.signature"),
        (head_unsigned, "format.schema"),
        (head_edited, "list.signature"),
        (head_truncated, "format.syntax"),
        (head_oversized, "format.too-large"),
        (segment_tampered, "list.segments"),
        (segment_oversized, "format.too-large"),
        (rules_tampered, "list.segments"),
    ],
)
def test_a_bad_head_leaves_the_old_list_in_force(
    live: LiveDeployment, host: Refresher, attack: Attack, code: str
) -> None:
    attack(live)
    assert refused(live, host).code == code
    # A process that starts now, with nothing remembered, refuses the same.
    assert refused(live, Refresher(host.home)).code == code


def test_a_rolled_back_list_is_refused_by_a_fresh_host_below_its_floor(live: LiveDeployment, tmp_path: Path) -> None:
    live.publish_enrolment(Floor(root=1, targets=1, epoch=1, seq=3))
    home = live.enroll(tmp_path / "new")
    with pytest.raises(Refused) as caught:
        refresh(home, live.now)
    assert caught.value.code == "list.rollback"
    assert home.state().trust is None
    assert not (home.directory / "lists").exists()


def test_a_missing_segment_is_unreachable(live: LiveDeployment, host: Refresher) -> None:
    live.revoke(digest(3))
    for path in [path for path in live.server.files if path.startswith("lists/segments/")]:
        del live.server.files[path]
    assert refused(live, host).code == "unreachable.server"


# -- trust that lies --------------------------------------------------------------------------------------------------


def trust_file(live: LiveDeployment, name: str, change: Callable[[bytes], bytes]) -> None:
    for path in [path for path in live.server.files if path.startswith("trust/") and path.endswith(name)]:
        live.server.files[path] = change(live.server.files[path])


def timestamp_rolled_back(live: LiveDeployment) -> None:
    older = live.repository.timestamp
    older.version -= 1
    live.server.files["trust/metadata/timestamp.json"] = sign(older, [live.repository.signers["online"]])


def timestamp_forged(live: LiveDeployment) -> None:
    metadata: Metadata[Timestamp] = Metadata.from_bytes(live.server.files["trust/metadata/timestamp.json"])
    metadata.signed.version += 5
    live.server.files["trust/metadata/timestamp.json"] = metadata.to_bytes()


def timestamp_by_a_stranger(live: LiveDeployment) -> None:
    live.repository.timestamp.version += 1
    live.server.files["trust/metadata/timestamp.json"] = sign(
        live.repository.timestamp, [CryptoSigner.generate_ed25519()]
    )


def timestamp_oversized(live: LiveDeployment) -> None:
    trust_file(live, "timestamp.json", lambda data: data + b" " * 20_000)


def snapshot_tampered(live: LiveDeployment) -> None:
    live.publish_policy(2)
    trust_file(live, "3.snapshot.json", lambda data: data.replace(b'"version":3', b'"version":4'))


def policy_tampered(live: LiveDeployment) -> None:
    live.publish_policy(2)
    trust_file(live, ".policy.json", lambda data: data.replace(b'"production"', b'"prodaction"'))


def policy_oversized(live: LiveDeployment) -> None:
    live.publish_policy(2)
    trust_file(live, ".policy.json", lambda data: data + b" ")


def policy_by_the_online_key(live: LiveDeployment) -> None:
    repo = live.repository
    repo.publish_targets(live.now, [repo.signers["online"]])
    repo.publish_online(live.now)
    live.publish()


def checkpoint_by_one_signer(live: LiveDeployment) -> None:
    repo = live.repository
    repo.publish_checkpoints(live.now, [repo.signers["checkpoint-1"]])
    repo.publish_online(live.now)
    live.publish()


def root_by_one_signer(live: LiveDeployment) -> None:
    live.repository.publish_root(live.now, signers=[live.repository.signers["root-1"]])
    live.publish()


def another_repository(live: LiveDeployment) -> None:
    with LiveDeployment() as other:
        live.server.files |= {path: data for path, data in other.server.files.items() if path.startswith("trust/")}


def frozen(live: LiveDeployment) -> None:
    live.pass_time(timedelta(days=2))  # the online roles are valid for one day
    live.publish_head()


def policy_of_another_deployment(live: LiveDeployment) -> None:
    other = Documents("other")
    other.head_key = live.documents.head_key
    live.repository.set_target(live.repository.checkpoints, "checkpoints/checkpoint.json", other.checkpoint())
    live.repository.publish_checkpoints(live.now)
    live.repository.publish_policy(live.now, other.policy(live.now))
    live.publish()


def policy_that_has_ended(live: LiveDeployment) -> None:
    live.publish_policy(2, life=timedelta(seconds=-1))


def policy_malformed(live: LiveDeployment) -> None:
    live.repository.publish_policy(live.now, b'{"v":1}')
    live.publish()


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (timestamp_rolled_back, "trust.rollback"),
        (timestamp_forged, "trust.metadata"),
        (timestamp_by_a_stranger, "trust.metadata"),
        (timestamp_oversized, "trust.metadata"),
        (snapshot_tampered, "trust.metadata"),
        (policy_tampered, "trust.metadata"),
        (policy_oversized, "trust.metadata"),
        (policy_by_the_online_key, "trust.metadata"),
        (checkpoint_by_one_signer, "trust.metadata"),
        (root_by_one_signer, "trust.metadata"),
        (another_repository, "trust.metadata"),
        (policy_of_another_deployment, "trust.deployment"),
        (policy_that_has_ended, "trust.expired"),
        (policy_malformed, "format.schema"),
    ],
)
def test_bad_trust_leaves_the_old_trust_in_force(
    live: LiveDeployment, host: Refresher, attack: Attack, code: str
) -> None:
    attack(live)
    assert refused(live, host, trust=True).code == code
    assert refused(live, Refresher(host.home)).code == code


def test_a_frozen_repository_is_noticed_at_the_time_passed_in(live: LiveDeployment, host: Refresher) -> None:
    frozen(live)
    with pytest.raises(Refused) as caught:
        host.refresh(live.now, trust=True)
    assert caught.value.code == "trust.metadata"
    assert "expired" in caught.value.what
    # The head that came with it is in force all the same: news of revocations does not wait for the policy.
    assert host.in_force is not None
    assert host.in_force.revocations.head.issued == host.home.in_force(live.now).revocations.head.issued
    assert host.in_force.revocations.freshness(live.now, timedelta(0)).fresh


def test_a_later_floor_of_trust_that_the_server_does_not_reach_is_refused(live: LiveDeployment, tmp_path: Path) -> None:
    live.publish_enrolment(Floor(root=1, targets=2, epoch=1, seq=0))
    with pytest.raises(Refused) as caught:
        refresh(live.enroll(tmp_path / "new"), live.now)
    assert caught.value.code == "trust.rollback"


# -- a server that does not answer ------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_unreachable(live: LiveDeployment, host: Refresher) -> None:
    live.server.stop()
    error = refused(live, host)
    assert isinstance(error, Unreachable)
    assert error.code == "unreachable.server"


@pytest.mark.parametrize("path", ["lists/head.json", "trust/metadata/timestamp.json", "trust/metadata/2.root.json"])
@pytest.mark.parametrize("code", [301, 400, 401, 429, 500, 503])
def test_an_answer_that_is_no_answer_is_unreachable(
    live: LiveDeployment, host: Refresher, path: str, code: int
) -> None:
    live.server.lies[path] = status(code, b"sorry", Location="/elsewhere")
    assert refused(live, host, trust=True).code == "unreachable.server"


def test_a_timestamp_that_is_gone_is_unreachable(live: LiveDeployment, host: Refresher) -> None:
    del live.server.files["trust/metadata/timestamp.json"]
    assert refused(live, host, trust=True).code == "unreachable.server"


def test_a_clock_that_is_behind_a_signed_moment_is_refused(live: LiveDeployment, host: Refresher) -> None:
    with pytest.raises(Refused) as caught:
        host.refresh(live.now - timedelta(minutes=6))
    assert caught.value.code == "clock.behind"


# -- what is accepted -------------------------------------------------------------------------------------------------


def test_a_first_pass_puts_trust_and_list_in_force(live: LiveDeployment, tmp_path: Path) -> None:
    home = live.enroll(tmp_path)
    in_force = refresh(home, live.now)
    assert in_force.revocations.lists(Hex(digest(2)))
    assert not in_force.revocations.lists(Hex(digest(3)))
    again = Home(tmp_path).in_force(live.now)
    assert (again.state, again.floor, again.revocations.head) == (
        in_force.state,
        in_force.floor,
        in_force.revocations.head,
    )
    assert (again.floor.seq, again.time_floor) == (2, in_force.revocations.head.issued)


def test_a_revocation_arrives_with_two_requests(live: LiveDeployment, host: Refresher) -> None:
    live.revoke(digest(3))
    live.server.paths()
    assert host.refresh(live.now).revocations.lists(Hex(digest(3)))
    paths = live.server.paths()
    assert paths[0] == "lists/head.json"
    assert [path.rpartition("/")[0] for path in paths[1:]] == ["lists/segments"]


def test_a_hundred_entries_cost_half_as_much_again_on_the_wire(live: LiveDeployment) -> None:
    live.revoked.clear()
    live.revoke(*map(digest, range(100)))
    assert len(live.head) + 100 * PREFIX <= 1.5 * 100 * PREFIX


def test_nothing_new_costs_one_conditional_request_and_writes_nothing(live: LiveDeployment, host: Refresher) -> None:
    before = {path: path.stat().st_mtime_ns for path in host.home.directory.rglob("*.json")}
    live.server.log.clear()
    state = host.refresh(live.now).state
    assert live.server.log == [(304, "lists/head.json")]
    assert {path: path.stat().st_mtime_ns for path in host.home.directory.rglob("*.json")} == before
    assert host.refresh(live.now).state == state


def test_unchanged_trust_costs_two_requests(live: LiveDeployment, host: Refresher) -> None:
    live.server.log.clear()
    host.refresh(live.now, trust=True)
    assert live.server.log[1:] == [(404, "trust/metadata/2.root.json"), (304, "trust/metadata/timestamp.json")]


def test_trust_is_fetched_again_after_its_interval(live: LiveDeployment, host: Refresher) -> None:
    live.publish_policy(2)
    assert host.refresh(live.now).trust.policy.version == 1
    live.pass_time(TRUST_INTERVAL)
    assert host.refresh(live.now).trust.policy.version == 2
    assert host.home.floor(host.home.state()).targets == 2


def test_a_head_signed_again_for_freshness_is_adopted(live: LiveDeployment, host: Refresher) -> None:
    live.pass_time(timedelta(hours=5))
    live.publish_head()
    late = live.pass_time(timedelta(hours=5))
    assert host.refresh(late).revocations.freshness(late, timedelta(0)).fresh


def test_a_head_that_asks_for_newer_trust_brings_it(live: LiveDeployment, host: Refresher) -> None:
    live.publish_policy(2)
    live.publish_head(targets=2)
    assert host.refresh(live.now).trust.policy.version == 2


def test_a_head_by_a_new_key_brings_the_policy_that_names_it(live: LiveDeployment, host: Refresher) -> None:
    live.documents.head_key = Ed25519PrivateKey.generate()
    live.publish_policy(2)
    live.revoke(digest(3))
    assert host.refresh(live.now).revocations.lists(Hex(digest(3)))


def test_a_new_epoch_is_adopted_with_its_checkpoint_and_without_fetching_the_base(
    live: LiveDeployment, host: Refresher
) -> None:
    live.publish_epoch(2, 2, [digest(2)], removed=[digest(1)])
    live.server.files = {path: data for path, data in live.server.files.items() if not path.startswith("lists/bases/")}
    in_force = host.refresh(live.now)
    assert in_force.revocations.checkpoint.epoch == 2
    assert not in_force.revocations.lists(Hex(digest(1)))
    assert in_force.revocations.lists(Hex(digest(2)))
    # The base was computed; it is on disk all the same, for the next process.
    assert Home(host.home.directory).in_force(live.now).revocations.lists(Hex(digest(2)))


def test_all_that_head_and_checkpoint_name_is_kept(live: LiveDeployment, host: Refresher) -> None:
    one = {"id": "R1", "kind": "signer", "match": {"key": "x"}, "reason": "key-compromise"}
    older = live.documents.keep("rules", json.dumps({"v": 1, "rules": [one]}).encode())
    newer = live.documents.keep("rules", json.dumps({"v": 1, "rules": [one, one | {"id": "R2"}]}).encode())
    live.documents.default_rules = (newer, 2)
    live.publish_epoch(2, 2, [digest(1), digest(2)], rules=older)
    host.refresh(live.now)
    for number in range(3, 6):  # each pass sweeps what the one before no longer names
        live.revoked.append(digest(number))
        live.head = live.documents.head(live.now, epoch=2, first=3, revoked=live.revoked[2:])
        live.publish()
        host.refresh(live.now)
        assert len(Home(host.home.directory).in_force(live.now).revocations.rules.rules) == 2
    assert {path.name for path in (host.home.directory / "lists" / "rules").iterdir()} == {older, newer}
    assert len(list((host.home.directory / "lists" / "heads").iterdir())) == 2


def test_a_new_epoch_whose_head_is_withheld_leaves_the_old_one_in_force(live: LiveDeployment, host: Refresher) -> None:
    old_head = live.head
    live.publish_epoch(2, 2, [digest(2)], removed=[digest(1)])
    live.server.files["lists/head.json"] = old_head
    assert refused(live, host, trust=True).code == "list.epoch"


def test_a_new_epoch_that_loses_what_came_after_its_checkpoint_is_a_fork(live: LiveDeployment, host: Refresher) -> None:
    live.publish_epoch(2, 0, [])
    live.head = live.documents.head(live.now, epoch=2, revoked=[digest(8), digest(9)])
    live.publish()
    assert refused(live, host).code == "list.fork"


def test_root_and_online_key_rotations_are_followed(live: LiveDeployment, host: Refresher) -> None:
    live.repository.rotate_root_key(live.now)
    live.repository.rotate_online_key(live.now)
    live.publish()
    assert host.refresh(live.now, trust=True).trust.root_version == 3
    assert host.home.in_force(live.now).trust.root_version == 3
    assert Refresher(host.home).refresh(live.now).floor.root == 3


def test_a_thief_of_the_online_key_cannot_lock_hosts_out_for_ever(live: LiveDeployment, host: Refresher) -> None:
    """Fast-forward: the thief signs huge versions; a new root names a new key, and counting starts over."""
    repo = live.repository
    honest = repo.timestamp.version, repo.snapshot.version
    repo.timestamp.version = repo.snapshot.version = 2**40
    repo.publish_online(live.now)
    live.publish()
    host.refresh(live.now, trust=True)
    repo.timestamp.version, repo.snapshot.version = honest
    repo.rotate_online_key(live.now)
    repo.publish_policy(live.now, live.documents.policy(live.now, version=2))
    live.publish()
    assert host.refresh(live.now, trust=True).trust.policy.version == 2


def test_a_policy_is_adopted_though_somebody_spoils_the_heads(live: LiveDeployment, host: Refresher) -> None:
    live.publish_policy(2)
    live.server.files["lists/head.json"] = b"{}"
    with pytest.raises(FormatError):
        host.refresh(live.now)
    in_force = host.home.in_force(live.now)
    assert in_force.trust.policy.version == 2
    assert in_force.revocations.lists(Hex(digest(1)))


def test_a_policy_that_drops_the_head_key_waits_for_a_head_that_fits_it(live: LiveDeployment, host: Refresher) -> None:
    old_head = live.head
    live.documents.head_key = Ed25519PrivateKey.generate()
    live.publish_policy(2)
    live.server.files["lists/head.json"] = old_head
    host.refresh(live.now)
    assert refused(live, host, trust=True).code == "list.signature"
    live.publish_head()
    assert host.refresh(live.now).trust.policy.version == 2


def test_what_another_process_put_in_force_is_taken_up(live: LiveDeployment, host: Refresher) -> None:
    other = Refresher(host.home)
    live.revoke(digest(3))
    other.refresh(live.now)
    assert host.refresh(live.now).revocations.lists(Hex(digest(3)))
    assert host.in_force is not None
    assert other.in_force is not None
    assert host.in_force.state == other.in_force.state


# -- attestation sets -------------------------------------------------------------------------------------------------


def test_a_set_that_the_server_does_not_have_is_missing(live: LiveDeployment, host: Refresher) -> None:
    with pytest.raises(Refused) as caught:
        fetch_set(host.home, digest(1))
    assert caught.value.code == "set.missing"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "set.count"), (b"{}\n", "format.schema"), (b"{}", "format.syntax"), (b"\n", "format.syntax")],
)
def test_a_malformed_set_is_refused_and_not_kept(live: LiveDeployment, host: Refresher, body: bytes, code: str) -> None:
    live.server.files[f"sets/{digest(1)}.jsonl"] = body
    with pytest.raises(Refused) as caught:
        fetch_set(host.home, digest(1))
    assert caught.value.code == code
    assert not host.home.set_path(digest(1)).exists()


def test_a_server_that_fails_to_hand_out_a_set_is_unreachable(live: LiveDeployment, host: Refresher) -> None:
    live.server.lies[f"sets/{digest(1)}.jsonl"] = status(500)
    with pytest.raises(Unreachable) as caught:
        fetch_set(host.home, digest(1))
    assert caught.value.code == "unreachable.server"


def test_a_set_is_kept_under_the_digest_of_its_wheel(live: LiveDeployment, host: Refresher) -> None:
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "aGludA=="}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": "e30=",
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "c2ln", "keyid": ""}],
        },
    }
    body = json.dumps(bundle).encode() + b"\n"
    live.server.files[f"sets/{digest(1)}.jsonl"] = body
    path = fetch_set(host.home, digest(1))
    assert path == host.home.set_path(digest(1))
    assert sha256(path.read_bytes()) == sha256(body)
