"""Refreshing against a real server that lies: whatever is refused, what was in force still is."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Timestamp

from loadlock.testing.documents import Documents
from loadlock.testing.loopback import status
from loadlock.testing.repository import sign
from tests.live_deployment import LiveDeployment, digest, refused
from verifier.errors import Refused, Unreachable
from verifier.formats.enrolment import Floor
from verifier.refreshing.refresh import Refresher, refresh

Attack = Callable[[LiveDeployment], object]


@pytest.fixture
def host(live: LiveDeployment, tmp_path: Path) -> Refresher:
    return live.host(tmp_path / "host")


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
