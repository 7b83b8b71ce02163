"""After the theft of the head key: a new key in the policy, and a checkpoint that cuts off what the thief said.

1. the stolen key is put aside, and a new one in its place
2. the policy that names the new key alone is signed and announced: from then on the stolen key signs nothing that a
   host takes, once it has that policy
3. a checkpoint is laid out whose base holds everything that the service itself has published; once it is signed and in
   force, hosts drop what they have from heads alone

Done again after a crash, each step finds what is there.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from crl_server.lists.checkpointing import Prepared
from crl_server.service import Authority
from crl_server.trust import policies
from crl_server.trust.signing import SigningKey
from verifier.errors import Unreachable
from verifier.files import sync_directory
from verifier.formats.text import Digest, Time

KEY_LIFE = timedelta(days=365)
"""How long the new head key may sign."""


class Recovered(NamedTuple):
    """What was done: the key that signs from now on, those that no longer do, the policy's version, the checkpoint."""

    key: Digest
    stolen: tuple[Digest, ...]
    policy: int
    checkpoint: Prepared


def replace_stolen_key(
    authority: Authority, keys: Path | None, directory: Path, actor: str, now: datetime
) -> Recovered:
    """Do all of it that does not take the checkpoint keys.

    Args:
        authority: the deployment.
        keys: where the policy's offline key is; None for the deployment's own ``offline``.
        directory: where the checkpoint is laid out; it must not exist.
        actor: who recovers, for the audit log.
        now: the moment (aware, UTC).

    Raises:
        UsageError: ``usage.configuration``, ``usage.key``, ``usage.exists``, ``io.failed``.
        Refused: as :meth:`crl_server.trust.offline.Office.sign_policy` and :meth:`Authority.prepare_checkpoint`.
        Unreachable: ``io.failed``.
    """
    policy = authority.repository.trust().policy
    if not any(named.key == _head_key(authority).public.id for named in policy.head_keys):
        stolen = tuple(named.key for named in policy.head_keys)  # an earlier try has put the key aside already
    else:
        authority.publisher.publish(now)  # with the key that hosts still know: nothing committed is left behind
        stolen = (_head_key(authority).public.id,)
    office = authority.office(keys)
    new = SigningKey.generate() if stolen[0] == _head_key(authority).public.id else _head_key(authority)
    text = office.text()
    for key in stolen:
        text = policies.with_head_key(text, key, new.public, Time.of(now + KEY_LIFE))
    office.check_policy_key()
    if new.public.id != _head_key(authority).public.id:
        _put_in_place(authority.layout.online, new)
    signed = office.sign_policy(text, actor, now)
    prepared = authority.prepare_checkpoint(directory, actor, now, cut=True)
    return Recovered(new.public.id, stolen, signed.policy.version, prepared)


def _head_key(authority: Authority) -> SigningKey:
    return SigningKey.read(authority.layout.online / "head.pem")


def _put_in_place(online: Path, new: SigningKey) -> None:
    old = SigningKey.read(online / "head.pem")
    aside = online / f"head.stolen-{old.public.id[7:19]}.pem"
    fresh = online / f"head.new-{new.public.id[7:19]}.pem"
    new.write(fresh)
    try:
        os.link(online / "head.pem", aside)
        os.replace(fresh, online / "head.pem")
        sync_directory(online)
    except OSError as error:
        raise Unreachable("io.failed", "the head key cannot be replaced", found=error.strerror or "") from error
