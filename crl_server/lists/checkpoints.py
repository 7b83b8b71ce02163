"""The checkpoint that follows a list: pure, from what is published and what was agreed on to take back."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from verifier.formats.revocations import (
    AuditHead,
    Checkpoint,
    Rules,
    dump,
    number_of,
    prefix_of,
    sha256_hex,
)
from verifier.formats.text import Digest, Hex
from verifier.revocation.revocation_list import RevocationList, SetFile


class Proposal(NamedTuple):
    """A checkpoint that awaits its signatures, with the two files that it names."""

    checkpoint: Checkpoint
    base: SetFile
    rules: bytes


def propose(
    current: RevocationList, taken_back: Collection[Hex | Digest], rules: Rules, log: AuditHead, *, cut: bool = False
) -> Proposal:
    """The next epoch's checkpoint.

    Args:
        current: the published list; all of its tail goes into the new base.
        taken_back: digests that leave the list.
        rules: the standing rules from then on; those of ``current`` that are missing are named as removed.
        log: the audit log's state.
        cut: cut off whatever hosts know from elsewhere than this checkpoint: after the theft of a head key.

    Returns:
        The same for the same arguments.
    """
    before = current.checkpoint
    base = current.base.changed(current.added, map(prefix_of, taken_back))
    kept = {rule.id for rule in rules.rules}
    gone = {rule.id for rule in current.rules.rules if rule.id not in kept}
    removed = {*before.removed, *(Hex(digest.removeprefix("sha256:")) for digest in taken_back)}
    rules_file = dump(rules)
    checkpoint = Checkpoint(
        v=1,
        deployment=before.deployment,
        epoch=before.epoch + 1,
        through=current.head.seq,
        root=base.sha256,
        count=len(base),
        rules=sha256_hex(rules_file),
        removed=tuple(sorted(digest for digest in removed if prefix_of(digest) not in base)),
        removed_rules=tuple(sorted(gone.union(before.removed_rules), key=number_of)),
        carry=before.epoch + 1 if cut else before.carry,
        audit=log,
    )
    return Proposal(checkpoint, base, rules_file)
