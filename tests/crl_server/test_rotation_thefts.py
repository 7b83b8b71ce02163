"""After the theft of a key: its signatures are refused once it is replaced; one key of two never did anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from crl_server.lists.wholeness import Wholeness
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, revoke
from tests.crl_server.rotated import World, world
from verifier.errors import LoadlockError
from verifier.files import write_atomic

STRANGER = SigningKey.generate()


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        call()
    return caught.value.code


class Thief:
    """Answers hosts with what it signs itself, over what the deployment has published."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.trust = world.authority.layout.trust
        self.kept = {path: path.read_bytes() for path in self.trust.rglob("*") if path.is_file()}

    def read(self, name: str) -> Metadata[Any]:
        return Metadata.from_bytes((self.trust / "metadata" / f"{name}.json").read_bytes())

    def write(self, name: str, metadata: Metadata[Any], *keys: SigningKey) -> None:
        metadata.signatures.clear()
        for key in keys:
            metadata.sign(key.tuf, append=True)
        (self.trust / "metadata" / f"{name}.json").write_bytes(metadata.to_bytes())

    def announce(self, online: SigningKey, version: int, targets: int) -> None:
        """Snapshot and timestamp of that version, over ``targets`` of that version."""
        from tuf.api.metadata import MetaFile

        stamp: Metadata[Timestamp] = self.read("timestamp")
        snapshot: Metadata[Snapshot] = self.read(f"{stamp.signed.snapshot_meta.version}.snapshot")
        data = (self.trust / "metadata" / f"{targets}.targets.json").read_bytes()
        snapshot.signed.meta["targets.json"] = MetaFile.from_data(targets, data, ["sha256"])
        snapshot.signed.version = stamp.signed.version = version
        self.write(f"{version}.snapshot", snapshot, online)
        data = (self.trust / "metadata" / f"{version}.snapshot.json").read_bytes()
        stamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
        self.write("timestamp", stamp, online)

    def policy(self, targets: SigningKey, version: int) -> None:
        """The policy in force once more, under another version of its metadata."""
        present = self.world.authority.repository.trust().targets_version
        signed: Metadata[Targets] = self.read(f"{present}.targets")
        signed.signed.version = version
        self.write(f"{version}.targets", signed, targets)

    def gone(self) -> None:
        """The server is cleaned up."""
        for path in self.trust.rglob("*"):
            if path.is_file() and path not in self.kept:
                path.unlink()
        for path, data in self.kept.items():
            write_atomic(path, data)


def test_after_the_theft_of_the_online_key(acme: World) -> None:
    stolen, fooled, honest = acme.online_key, acme.host("fooled"), acme.host("honest")
    honest.sync()
    thief = Thief(acme)
    thief.announce(stolen, 10**6, 1)  # with versions that no honest server reaches
    fooled.sync()
    thief.gone()
    assert code_of(fooled.sync) == "trust.rollback"
    acme.rotate("online")
    for host in (fooled, honest, acme.host("fresh")):
        assert host.sync().trust.root_version == 2
    assert acme.online_key.public.id != stolen.public.id
    Thief(acme).announce(stolen, 10**7, 1)
    for host in (fooled, honest, acme.host("late")):
        assert code_of(host.sync) == "trust.metadata"


def test_after_the_theft_of_the_policys_key_and_the_online_key(acme: World) -> None:
    stolen, online, fooled = acme.keys["targets"], acme.online_key, acme.host("fooled")
    thief = Thief(acme)
    thief.policy(stolen, 500)
    thief.announce(online, 1000, 500)
    assert fooled.sync().trust.targets_version == 500
    thief.gone()
    acme.rotate("targets", "targets", above=500)
    acme.rotate("online")
    for host in (fooled, acme.host("fresh")):
        found = host.sync()
        assert (found.trust.root_version, found.trust.targets_version) == (3, 501)
    thief = Thief(acme)
    thief.policy(stolen, 600)
    thief.announce(acme.online_key, 2000, 600)  # with help from the server, even
    assert code_of(fooled.sync) == "trust.metadata"


def test_a_policy_key_alone_reaches_no_host(acme: World) -> None:
    host = acme.host("a")
    host.sync()
    thief = Thief(acme)
    thief.policy(acme.keys["targets"], 2)
    thief.announce(SigningKey.generate(), 1000, 2)
    assert code_of(host.sync) == "trust.metadata"


@pytest.mark.parametrize("rotated", [False, True])
def test_one_root_key_of_two_does_nothing(acme: World, rotated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wholeness, "check", lambda *_: None)  # the thief's server hands out what it should not
    stolen, host = acme.keys["root-1"], acme.host("a")
    host.sync()
    if rotated:
        acme.rotate("root", "root-1")
        host.sync()
    version = 3 if rotated else 2
    thief = Thief(acme)
    root: Metadata[Root] = thief.read(f"{version - 1}.root")
    root.signed.version = version
    for role in ("targets", "timestamp", "snapshot"):
        for keyid in list(root.signed.roles[role].keyids):
            root.signed.revoke_key(keyid, role)
        root.signed.add_key(STRANGER.tuf.public_key, role)
    thief.write(f"{version}.root", root, stolen)
    for one in (host, acme.host("fresh")):
        assert code_of(one.sync) == "trust.metadata"
    thief.gone()
    assert host.sync().trust.root_version == version - 1


def test_one_checkpoint_key_of_two_does_nothing_and_is_replaced(acme: World) -> None:
    stolen = acme.keys["checkpoint-1"]
    revoke(acme.authority, "a", now=acme.now)
    acme.rotate("checkpoints", "checkpoint-1")
    from crl_server.lists import countersigning
    from tests.crl_server.takebacks import prepared

    dossier = prepared(acme.authority, acme.fresh("checkpoint"), acme.now)
    assert code_of(lambda: countersigning.sign(dossier, stolen)) == "usage.key"
    countersigning.sign(dossier, acme.keys["checkpoint-2"])
    assert code_of(lambda: acme.authority.publish_checkpoint(dossier, ACTOR, acme.now)) == "checkpoint.signatures"
