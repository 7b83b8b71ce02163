"""A TUF repository in memory that edits, signs and serves itself, with the clock as an argument.

It keeps what a real deployment keeps apart: two offline root keys, one offline targets key, two offline checkpoint keys
and one online key. Attacks are written by changing ``repository.root``, ``targets`` and so on before publishing, by
passing other signers, or by replacing entries of ``metadata`` and ``targets_files`` afterwards.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

SignedT = TypeVar("SignedT", Root, Timestamp, Snapshot, Targets)

POLICY = "policy.json"
CHECKPOINT = "checkpoints/checkpoint.json"

ROOT_LIFE = timedelta(days=365)
TARGETS_LIFE = timedelta(days=30)
ONLINE_LIFE = timedelta(days=1)


class TufRepository:
    """One deployment's TUF repository.

    Args:
        now: the time of the first publication (aware, UTC); every later step takes its own.
        policy: the bytes of ``policy.json``.
        checkpoint: the bytes of ``checkpoints/checkpoint.json``.

    Attributes:
        roots: every published root by version, as bytes.
        metadata: the current online and offline roles under their unversioned names (``snapshot.json`` …).
        targets_files: target path to bytes.
        history: everything ever published, by its URL path below ``trust/``.
    """

    def __init__(self, now: datetime, policy: bytes, checkpoint: bytes) -> None:
        names = ("root-1", "root-2", "targets", "checkpoint-1", "checkpoint-2", "online")
        self.signers = {name: CryptoSigner.generate_ed25519() for name in names}
        self.roots: dict[int, bytes] = {}
        self.metadata: dict[str, bytes] = {}
        self.targets_files: dict[str, bytes] = {}
        self.history: dict[str, bytes] = {}
        self.root = self._first_root(now)
        self.targets = Targets(expires=now + TARGETS_LIFE, delegations=self._delegations())
        self.checkpoints = Targets(expires=now + ROOT_LIFE)
        self.snapshot = Snapshot(expires=now + ONLINE_LIFE)
        self.timestamp = Timestamp(expires=now + ONLINE_LIFE)
        for signed in (self.targets, self.checkpoints, self.snapshot, self.timestamp):
            signed.version = 0  # each publication adds one before it signs
        self.publish_root(now, first=True)
        self.set_target(self.targets, POLICY, policy)
        self.set_target(self.checkpoints, CHECKPOINT, checkpoint)
        self.publish_checkpoints(now)
        self.publish_targets(now)
        self.publish_online(now)

    # -- what a deployment does ------------------------------------------------------------------------------------

    def publish_policy(self, now: datetime, policy: bytes) -> None:
        """Sign a new policy with the targets key and let the online key announce it."""
        self.set_target(self.targets, POLICY, policy)
        self.publish_targets(now)
        self.publish_online(now)

    def publish_checkpoint(self, now: datetime, checkpoint: bytes) -> None:
        """Sign a new checkpoint with both checkpoint keys and let the online key announce it."""
        self.set_target(self.checkpoints, CHECKPOINT, checkpoint)
        self.publish_checkpoints(now)
        self.publish_online(now)

    def rotate_online_key(self, now: datetime) -> None:
        """Name a new online key in a new root and sign timestamp and snapshot with it."""
        old = self.signers["online"].public_key.keyid
        self.signers["online"] = CryptoSigner.generate_ed25519()
        for role in ("snapshot", "timestamp"):
            self.root.revoke_key(old, role)
            self.root.add_key(self.signers["online"].public_key, role)
        self.publish_root(now)
        self.publish_online(now)

    def rotate_root_key(self, now: datetime) -> None:
        """Replace ``root-2``: the new root is signed by the old and the new holders."""
        old = self.signers["root-2"]
        self.signers["root-2"] = CryptoSigner.generate_ed25519()
        self.root.revoke_key(old.public_key.keyid, "root")
        self.root.add_key(self.signers["root-2"].public_key, "root")
        self.publish_root(now, signers=(self.signers["root-1"], old, self.signers["root-2"]))

    # -- one role at a time ----------------------------------------------------------------------------------------

    def publish_root(self, now: datetime, signers: Sequence[Signer] | None = None, first: bool = False) -> None:
        """Sign ``self.root`` as the next version."""
        if not first:
            self.root.version += 1
        self.root.expires = now + ROOT_LIFE
        data = sign(self.root, signers or (self.signers["root-1"], self.signers["root-2"]))
        self.roots[self.root.version] = data
        self.history[f"metadata/{self.root.version}.root.json"] = data

    def publish_targets(self, now: datetime, signers: Sequence[Signer] | None = None) -> None:
        """Sign ``self.targets`` as the next version; the online roles are left as they are."""
        self.targets.version += 1
        self.targets.expires = now + TARGETS_LIFE
        self._store("targets", self.targets, signers or (self.signers["targets"],))

    def publish_checkpoints(self, now: datetime, signers: Sequence[Signer] | None = None) -> None:
        """Sign ``self.checkpoints`` as the next version; the online roles are left as they are."""
        self.checkpoints.version += 1
        self.checkpoints.expires = now + ROOT_LIFE
        self._store(
            "checkpoints", self.checkpoints, signers or (self.signers["checkpoint-1"], self.signers["checkpoint-2"])
        )

    def publish_online(self, now: datetime) -> None:
        """Sign the next snapshot over what is published, and the next timestamp over that snapshot."""
        for name, signed in (("targets.json", self.targets), ("checkpoints.json", self.checkpoints)):
            self.snapshot.meta[name] = MetaFile.from_data(signed.version, self.metadata[name], ["sha256"])
        self.publish_snapshot(now)
        self.publish_timestamp(now)

    def publish_snapshot(self, now: datetime) -> None:
        """Sign ``self.snapshot`` as the next version, whatever its ``meta`` says."""
        self.snapshot.version += 1
        self.snapshot.expires = now + ONLINE_LIFE
        self._store("snapshot", self.snapshot, (self.signers["online"],))

    def publish_timestamp(self, now: datetime) -> None:
        """Sign the next timestamp over the stored snapshot."""
        data = self.metadata["snapshot.json"]
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, data, ["sha256"])
        self.timestamp.version += 1
        self.timestamp.expires = now + ONLINE_LIFE
        self.metadata["timestamp.json"] = sign(self.timestamp, (self.signers["online"],))
        self.history["metadata/timestamp.json"] = self.metadata["timestamp.json"]

    def set_target(self, role: Targets, path: str, data: bytes) -> None:
        """List ``data`` in ``role`` and store it; the role is not signed yet."""
        role.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self.targets_files[path] = data
        parent, slash, name = path.rpartition("/")
        self.history[f"targets/{parent}{slash}{hashlib.sha256(data).hexdigest()}.{name}"] = data

    # -- what a host holds -----------------------------------------------------------------------------------------

    @property
    def pinned(self) -> bytes:
        """The first root, which hosts are enrolled with."""
        return self.roots[1]

    def local_metadata(self, pinned: int = 1) -> dict[str, bytes]:
        """What a host that pinned root ``pinned`` keeps: the later roots and the four current roles."""
        roots = {f"{version}.root.json": data for version, data in self.roots.items() if version > pinned}
        return {**roots, **self.metadata}

    def state(self) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """A copy of (local metadata, targets) as of now, to attack later."""
        return dict(self.local_metadata()), dict(self.targets_files)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _first_root(self, now: datetime) -> Root:
        root = Root(expires=now + ROOT_LIFE, consistent_snapshot=True)
        for name in ("root-1", "root-2"):
            root.add_key(self.signers[name].public_key, "root")
        root.roles["root"].threshold = 2
        root.add_key(self.signers["targets"].public_key, "targets")
        for role in ("snapshot", "timestamp"):
            root.add_key(self.signers["online"].public_key, role)
        return root

    def _delegations(self) -> Delegations:
        keys = [self.signers[name].public_key for name in ("checkpoint-1", "checkpoint-2")]
        role = DelegatedRole("checkpoints", [key.keyid for key in keys], 2, terminating=True, paths=["checkpoints/*"])
        return Delegations({key.keyid: key for key in keys}, {"checkpoints": role})

    def _store(self, role: str, signed: SignedT, signers: Sequence[Signer]) -> None:
        data = sign(signed, signers)
        self.metadata[f"{role}.json"] = data
        self.history[f"metadata/{signed.version}.{role}.json"] = data


def sign(signed: SignedT, signers: Sequence[Signer]) -> bytes:
    """The signed file of a copy of ``signed``, with one signature per signer."""
    metadata = Metadata[SignedT](copy.deepcopy(signed))
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()
