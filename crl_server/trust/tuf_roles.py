"""The roles of a deployment's TUF repository: what they look like, how long they last, and who signs them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, Root, TargetFile, Targets

from crl_server.trust.signing import SigningKey
from crl_server.trust.trust_files import CHECKPOINT
from verifier.errors import Refused

ROOT_LIFE = timedelta(days=365)
TARGETS_LIFE = timedelta(days=30)
CHECKPOINTS_LIFE = timedelta(days=365)
SNAPSHOT_LIFE = timedelta(days=7)
TIMESTAMP_LIFE = timedelta(days=1)
THRESHOLD = 2
"""How many offline keys sign a root, and a checkpoint."""


class OfflineKeys(NamedTuple):
    """The keys that a new repository is signed with and that are then taken away."""

    roots: tuple[SigningKey, SigningKey]
    targets: SigningKey
    checkpoints: tuple[SigningKey, SigningKey]


class Roles(NamedTuple):
    """The roles that people sign."""

    root: Root
    targets: Targets
    checkpoints: Targets


def role_of(metadata: bytes) -> tuple[Targets, Metadata[Targets]]:
    """The role ``checkpoints`` in its metadata; its signatures are still to be judged.

    Raises:
        Refused: ``trust.metadata``.
    """
    try:
        found: Metadata[Targets] = Metadata.from_bytes(metadata)
    except (RepositoryError, KeyError, ValueError, TypeError) as error:
        raise Refused(
            "trust.metadata", "the checkpoint's metadata is malformed", found=ascii(str(error))[:200]
        ) from error
    if not isinstance(found.signed, Targets):
        raise Refused("trust.metadata", "the checkpoint's metadata is of another kind", found=ascii(found.signed.type))
    return found.signed, found


def check_role(role: Targets, checkpoint: bytes, version: int, now: datetime) -> None:
    """Demand that the role is of that version, in force, and names exactly this checkpoint and nothing else.

    Raises:
        Refused: ``checkpoint.outdated``, ``trust.metadata``.
    """
    if role.version != version or role.expires <= now:
        raise Refused(
            "checkpoint.outdated", "the checkpoint's metadata is not the next one",
            found=f"version {role.version}, until {role.expires:%Y-%m-%dT%H:%M:%SZ}", expected=f"version {version}",
        )  # fmt: skip
    listed = role.targets.get(CHECKPOINT)
    same = TargetFile.from_data(CHECKPOINT, checkpoint, ["sha256"])
    alone = set(role.targets) == {CHECKPOINT} and role.delegations is None and not role.unrecognized_fields
    if not alone or listed != same or role.expires > now + CHECKPOINTS_LIFE + timedelta(days=1):
        raise Refused("trust.metadata", "the checkpoint's metadata names something else than this checkpoint")


def first_root(keys: OfflineKeys, online: SigningKey, now: datetime) -> Root:
    """A new deployment's first root."""
    root = Root(expires=cut(now + ROOT_LIFE), consistent_snapshot=True)
    for key in keys.roots:
        root.add_key(key.tuf.public_key, "root")
    root.roles["root"].threshold = THRESHOLD
    root.add_key(keys.targets.tuf.public_key, "targets")
    for role in ("snapshot", "timestamp"):
        root.add_key(online.tuf.public_key, role)
    return root


def delegations(keys: Sequence[SigningKey]) -> Delegations:
    """What ``targets`` delegates: checkpoints, to these keys."""
    public: dict[str, Key] = {key.tuf.public_key.keyid: key.tuf.public_key for key in keys}
    role = DelegatedRole("checkpoints", list(public), THRESHOLD, terminating=True, paths=["checkpoints/*"])
    return Delegations(public, {"checkpoints": role})


def role_end(until: datetime, now: datetime) -> datetime:
    """When ``targets`` ends whose policy is valid until ``until``."""
    return cut(min(until, now + TARGETS_LIFE))


def cut(moment: datetime) -> datetime:
    """The moment in whole seconds, as TUF writes it."""
    return moment.replace(microsecond=0)
