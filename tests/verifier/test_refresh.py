"""Refreshing against a real server: what is adopted, what that costs, and what is fetched beside it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loadlock.testing.documents import sha256
from loadlock.testing.loopback import status
from tests.live_deployment import LiveDeployment, digest, refused
from verifier.deployment.home import Home
from verifier.errors import FormatError, Refused, Unreachable
from verifier.formats.revocations import PREFIX
from verifier.formats.text import Hex
from verifier.refreshing.refresh import TRUST_INTERVAL, Refresher, refresh
from verifier.refreshing.sets import fetch_set


@pytest.fixture
def host(live: LiveDeployment, tmp_path: Path) -> Refresher:
    return live.host(tmp_path / "host")


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
