"""The TUF repository on disk: who signs which role, how long it lasts, and the order in which it is written.

    metadata/<n>.root.json          root-1 and root-2, offline            365 days
    metadata/<n>.targets.json       targets, offline                      as long as the policy, at most 30 days
    metadata/<n>.checkpoints.json   checkpoint-1 and -2, offline          365 days
    metadata/<n>.snapshot.json      timestamp, online                     7 days
    metadata/timestamp.json         timestamp, online                     1 day
    targets/<sha256>.policy.json, targets/checkpoints/<sha256>.checkpoint.json
    targets/<sha256>.trusted_root.<name>.json   Sigstore trusted roots, which the policy names

Files are written from the leaves up: targets, their role, snapshot, timestamp. Only the last rename makes a change
visible, so a crash leaves a repository that verifies. Layout and names are those that ``tuf.ngclient`` asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from crl_server.lists.rules import half_spent
from crl_server.trust.signing import SigningKey
from crl_server.trust.trust_files import CHECKPOINT, POLICY, SignedT, TrustFiles, target_name
from crl_server.trust.tuf_roles import (
    CHECKPOINTS_LIFE,
    SNAPSHOT_LIFE,
    THRESHOLD,
    TIMESTAMP_LIFE,
    OfflineKeys,
    Roles,
    check_role,
    cut,
    delegations,
    first_root,
    role_end,
    role_of,
)
from verifier.deployment.chain import TRUSTED_ROOT, trusted_root_name
from verifier.deployment.trust import Trust
from verifier.errors import Refused, UsageError
from verifier.formats.text import Name


class Repository:
    """One deployment's TUF repository.

    Args:
        directory: ``public/trust`` of the deployment.
        files: how it is read and written, where not as it lies there.
    """

    def __init__(self, directory: Path, files: TrustFiles | None = None) -> None:
        self.directory = directory
        self._files = files or TrustFiles(directory)

    def trust(self) -> Trust:
        """What the repository says; raises as :meth:`crl_server.trust.trust_files.TrustFiles.trust`."""
        return self._files.trust()

    def root(self, version: int) -> bytes:
        """The bytes of one root; raises as :meth:`crl_server.trust.trust_files.TrustFiles.root`."""
        return self._files.root(version)

    def roles(self) -> Roles:
        """The verified roles that people sign, as they can be edited.

        Raises:
            Refused: ``trust.*`` when what is there does not verify.
        """
        trust = self.trust()
        return Roles(
            self._files.read(f"{trust.root_version}.root.json", Root),
            self._files.read(f"{trust.targets_version}.targets.json", Targets),
            self._files.read(f"{trust.checkpoints_version}.checkpoints.json", Targets),
        )

    # -- writing -------------------------------------------------------------------------------------------------------

    def create(
        self, keys: OfflineKeys, online: SigningKey, policy: bytes, checkpoint: bytes, until: datetime, now: datetime
    ) -> None:
        """Write the first version of every role.

        Args:
            keys: the offline keys.
            online: signs snapshot and timestamp.
            policy: the bytes of ``policy.json``.
            checkpoint: the bytes of ``checkpoints/checkpoint.json``.
            until: the end of the policy, and so of its role.
            now: the moment (aware, UTC).

        Raises:
            Unreachable: ``io.failed``.
        """
        self._write("root", first_root(keys, online, now), keys.roots, versioned=True)
        checkpoints = Targets(expires=cut(now + CHECKPOINTS_LIFE))
        self._target(checkpoints, CHECKPOINT, checkpoint)
        self._write("checkpoints", checkpoints, keys.checkpoints, versioned=True)
        targets = Targets(expires=role_end(until, now), delegations=delegations(keys.checkpoints))
        self._target(targets, POLICY, policy)
        self._write("targets", targets, (keys.targets,), versioned=True)
        self._announce(0, 0, {"targets": 1, "checkpoints": 1}, online, now)

    def publish_policy(
        self,
        policy: bytes,
        key: SigningKey,
        online: SigningKey,
        until: datetime,
        now: datetime,
        trusted_roots: Mapping[Name, bytes] = MappingProxyType({}),
    ) -> None:
        """Sign a new policy, with the trusted roots that it names, and announce it.

        Args:
            policy: the bytes of ``policy.json``.
            key: the offline targets key.
            online: signs snapshot and timestamp.
            until: the end of the policy.
            now: the moment (aware, UTC).
            trusted_roots: the bytes of each Sigstore trusted root that the policy names.

        Raises:
            Refused: ``trust.*`` when what is there does not verify; ``usage.key`` when ``key`` is another one.
            Unreachable: ``io.failed``.
        """
        self.check_policy_key(key)
        trust = self.trust()
        targets = self.roles().targets
        targets.version += 1
        targets.expires = role_end(until, now)
        self._target(targets, POLICY, policy)
        for path in [path for path in targets.targets if trusted_root_name(path)]:
            del targets.targets[path]
        for name, data in trusted_roots.items():
            self._target(targets, TRUSTED_ROOT.format(name), data)
        self._write("targets", targets, (key,), versioned=True)
        versions = {"targets": targets.version, "checkpoints": trust.checkpoints_version}
        self._announce(trust.roles["snapshot"].version, trust.roles["timestamp"].version, versions, online, now)

    def check_policy_key(self, key: SigningKey) -> None:
        """Demand that ``key`` is the one that signs the policy.

        Raises:
            UsageError: ``usage.key``.
            Refused: ``trust.*`` when what is there does not verify.
        """
        root = self.roles().root
        if key.tuf.public_key.keyid not in root.roles["targets"].keyids:
            raise UsageError(
                "usage.key",
                "this is not the key that signs the policy",
                found=key.public.id,
                expected="the targets.pem that 'loadlock init' made for this deployment",
                todo="Name the directory of this deployment's offline keys with --keys DIR.",
            )

    def renew(self, online: SigningKey, now: datetime) -> bool:
        """Sign snapshot and timestamp again where less than half of their time is left; tells whether it did.

        Raises:
            Refused: ``trust.*`` when what is there does not verify.
            Unreachable: ``io.failed``.
        """
        roles = self.trust().roles
        snapshot, timestamp = roles["snapshot"], roles["timestamp"]
        if half_spent(snapshot.expires - SNAPSHOT_LIFE, snapshot.expires, now):
            versions = {name: roles[name].version for name in ("targets", "checkpoints")}
            self._announce(snapshot.version, timestamp.version, versions, online, now)
            return True
        if half_spent(timestamp.expires - TIMESTAMP_LIFE, timestamp.expires, now):
            self._stamp(snapshot.version, timestamp.version, online, now)
            return True
        return False

    def unsigned_checkpoints(self, checkpoint: bytes, now: datetime) -> bytes:
        """The next version of the role ``checkpoints``, which names ``checkpoint``, without signatures.

        Raises:
            Refused: ``trust.*`` when what is there does not verify.
        """
        role = Targets(version=self.trust().checkpoints_version + 1, expires=cut(now + CHECKPOINTS_LIFE))
        role.targets[CHECKPOINT] = TargetFile.from_data(CHECKPOINT, checkpoint, ["sha256"])
        return Metadata(role).to_bytes()

    def check_checkpoints(self, checkpoint: bytes, metadata: bytes, now: datetime) -> None:
        """Demand that ``metadata`` is the next version of ``checkpoints``, signed by enough of its keys, for exactly
        this checkpoint.

        Raises:
            Refused: ``checkpoint.signatures``; ``checkpoint.outdated`` for another version or what has expired;
                ``trust.*`` when what is there does not verify.
        """
        role, signed = role_of(metadata)
        check_role(role, checkpoint, self.trust().checkpoints_version + 1, now)
        try:
            self.roles().targets.verify_delegate("checkpoints", signed.signed_bytes, signed.signatures)
        except UnsignedMetadataError as error:
            raise Refused(
                "checkpoint.signatures", "the checkpoint is not signed by enough holders of its keys",
                found=f"{len(signed.signatures)} signatures", expected=f"{THRESHOLD} that count",
            ) from error  # fmt: skip

    def checkpoint_keys(self) -> frozenset[str]:
        """The TUF ids of the keys that sign checkpoints.

        Raises:
            Refused: ``trust.*`` when what is there does not verify.
        """
        return frozenset(self.roles().targets.get_delegated_role("checkpoints").keyids)

    def publish_checkpoint(self, checkpoint: bytes, metadata: bytes, online: SigningKey, now: datetime) -> None:
        """Write a checkpoint that :meth:`check_checkpoints` has accepted, and announce it.

        Raises:
            Refused: ``trust.*`` when what is there does not verify.
            Unreachable: ``io.failed``.
        """
        trust = self.trust()
        role, _ = role_of(metadata)
        self._files.put(target_name(CHECKPOINT, role.targets[CHECKPOINT].hashes["sha256"]), checkpoint)
        self._files.put(f"metadata/{role.version}.checkpoints.json", metadata)
        versions = {"targets": trust.targets_version, "checkpoints": role.version}
        self._announce(trust.roles["snapshot"].version, trust.roles["timestamp"].version, versions, online, now)

    # -- one file at a time --------------------------------------------------------------------------------------------

    def _announce(
        self, snapshot: int, timestamp: int, versions: Mapping[str, int], online: SigningKey, now: datetime
    ) -> None:
        """Write the snapshot after ``snapshot`` and the timestamp after ``timestamp``."""
        meta = {
            f"{role}.json": MetaFile.from_data(version, self._files.metadata(f"{version}.{role}.json"), ["sha256"])
            for role, version in versions.items()
        }
        signed = Snapshot(version=snapshot + 1, expires=cut(now + SNAPSHOT_LIFE), meta=meta)
        self._write("snapshot", signed, (online,), versioned=True)
        self._stamp(snapshot + 1, timestamp, online, now)

    def _stamp(self, snapshot: int, timestamp: int, online: SigningKey, now: datetime) -> None:
        """Write the timestamp after ``timestamp``, over the snapshot of that version."""
        meta = MetaFile.from_data(snapshot, self._files.metadata(f"{snapshot}.snapshot.json"), ["sha256"])
        signed = Timestamp(version=timestamp + 1, expires=cut(now + TIMESTAMP_LIFE), snapshot_meta=meta)
        self._write("timestamp", signed, (online,), versioned=False)

    def _target(self, role: Targets, path: str, data: bytes) -> None:
        listed = TargetFile.from_data(path, data, ["sha256"])
        role.targets[path] = listed
        self._files.put(target_name(path, listed.hashes["sha256"]), data)

    def _write(self, role: str, signed: SignedT, keys: Sequence[SigningKey], *, versioned: bool) -> None:
        metadata: Metadata[SignedT] = Metadata(signed)
        for key in keys:
            metadata.sign(key.tuf, append=True)
        prefix = f"{signed.version}." if versioned else ""
        self._files.put(f"metadata/{prefix}{role}.json", metadata.to_bytes())
