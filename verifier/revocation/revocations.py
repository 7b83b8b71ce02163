"""The client's rules for the revocation list: which head may follow which, and what is revoked.

Pure: signed bytes, verified trust and a time go in, an immutable :class:`RevocationList` comes out. Where the bytes are
kept is the business of :mod:`verifier.deployment.home`, where they come from that of
:mod:`verifier.refreshing.refresh`. The numbers in the code are those of the rules in ``docs/spec/revocation-list.md``:

1. a head is signed by a head key of the policy, before the key's end, for this deployment, not in the future; an epoch
   has one checkpoint;
2. head and checkpoint are of one epoch, and trust is at least what the head asks for;
3. segments are contiguous from the checkpoint to the head, and match digest, count and order;
4. within an epoch nothing disappears: a lower sequence is a rollback, a lost entry or rule is a fork; nor does a head
   ever drop a rule that the checkpoint names;
5. the effective list is base and tail together; a new base is computed where possible, fetched otherwise, and loses
   nothing but what its checkpoint names;
6. a new epoch carries the tail and the rules over, but those of epochs before the checkpoint's ``carry``;
7. the caller keeps the old list in force until all of this has passed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, Protocol

from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.policy import Policy
from verifier.formats.revocations import (
    EMPTY_RULES,
    MAX_TAIL,
    PREFIX,
    Checkpoint,
    Head,
    Rules,
    SegmentRef,
    dump_set_file,
    parse_head,
    parse_rules,
    parse_set_file,
    prefix_of,
    sha256_hex,
)
from verifier.formats.text import Hex
from verifier.revocation.revocation_list import Buffer, RevocationList, Segment, SetFile
from verifier.signatures.known_signers import SignedBy, signed_by

CLOCK_SKEW = timedelta(minutes=5)
"""How far in the future a head may have been issued."""

FileKind = Literal["segments", "bases", "rules"]
Files = Callable[[FileKind, Hex], Buffer]


class ListTrust(Protocol):
    """What this module needs of :class:`verifier.deployment.trust.Trust`."""

    @property
    def policy(self) -> Policy:
        """The verified policy."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The verified checkpoint."""

    @property
    def root_version(self) -> int:
        """The version of the root metadata."""

    @property
    def targets_version(self) -> int:
        """The version of the policy's metadata."""


def apply_head(
    current: RevocationList | None, envelope: bytes, files: Files, trust: ListTrust, now: datetime
) -> RevocationList:
    """Take a head that has just been fetched: the next list, or a refusal that leaves ``current`` in force.

    Args:
        current: the list in force, or None on a fresh host.
        envelope: the head's DSSE envelope.
        files: reads a segment, base or rules file by the sha256 of its content; its answer is not trusted.
        trust: verified trust.
        now: the moment to judge at (aware, UTC).

    Raises:
        Refused: a ``list.*`` or ``format.*`` code.
    """
    new = open_list(envelope, files, trust, now, current)
    new.freshness(now, timedelta(0))
    if current is not None:
        check_history(current, new)
    return new


def open_list(
    envelope: bytes,
    files: Files,
    trust: ListTrust,
    now: datetime,
    current: RevocationList | None = None,
    signed_by: SignedBy = signed_by,
) -> RevocationList:
    """Verify a head with all it names, rules 1 to 3 and 5; expiry is for :meth:`RevocationList.freshness` to judge.

    Args:
        envelope: the head's DSSE envelope.
        files: as for :func:`apply_head`.
        trust: verified trust.
        now: the moment to judge at (aware, UTC).
        current: a list from which a new base and merged segments may be computed instead of read.
        signed_by: says which keys have signed; one that remembers may stand here.

    Raises:
        Refused: a ``list.*`` or ``format.*`` code.
    """
    head = verified_head(envelope, trust, now, signed_by)  # (1)
    _check_epoch(head, trust)  # (2)
    tail = _read_tail(head, trust.checkpoint, files, current.tail if current else ())  # (3)
    base = _computed_base(current, trust.checkpoint)  # (5)
    if base is None:
        base = _read_base(trust.checkpoint, files)
    rules, base_rules = _known_rules(current, head, trust.checkpoint) or _read_rules(head, trust.checkpoint, files)
    added = frozenset[bytes]().union(*(segment.prefixes for segment in tail))
    return RevocationList(head, envelope, trust.checkpoint, base, tail, rules, base_rules, added)


def check_history(old: RevocationList, new: RevocationList) -> None:
    """Demand that ``new`` may follow ``old``: rules 4 to 6.

    Raises:
        Refused: ``list.rollback`` or ``list.fork``.
    """
    if new.head.epoch < old.head.epoch:
        _rollback("epoch", new.head.epoch, old.head.epoch)
    if new.head.epoch > old.head.epoch:
        _check_epochs(old, new)  # (5) (6)
        return
    if new.checkpoint != old.checkpoint:  # (1)
        raise _fork("two checkpoints of one epoch differ")
    if new.head.seq < old.head.seq:  # (4)
        _rollback("sequence number", new.head.seq, old.head.seq)
    if new.head.seq == old.head.seq:
        if new.head.issued < old.head.issued:
            _rollback("time of issue", new.head.issued, old.head.issued)
        if new.added != old.added or new.head.rules != old.head.rules:
            raise _fork("two heads with one sequence number list different entries")
    if not old.added <= new.added:
        raise _fork("entries that were revoked are gone without a checkpoint")
    _check_rules_kept(old.rules, new.rules)


def verified_head(envelope_bytes: bytes, trust: ListTrust, now: datetime, signed_by: SignedBy = signed_by) -> Head:
    """A head whose signature is by a head key of the policy, rule 1; what it names is not looked at.

    Args:
        envelope_bytes: the head's DSSE envelope.
        trust: verified trust.
        now: the moment to judge at (aware, UTC).
        signed_by: as for :func:`open_list`.

    Raises:
        Refused: ``list.signature``, ``list.key-expired``, ``list.deployment``, ``list.future``.
        FormatError: any ``format.*`` code.
    """
    envelope = dsse.parse_envelope(envelope_bytes, what="revocation head")
    if envelope.payload_type != dsse.HEAD:
        raise Refused(
            "list.signature", "not a revocation head", found=repr(envelope.payload_type), expected=repr(dsse.HEAD)
        )
    _check_signature(envelope, trust.policy, now, signed_by)
    head = parse_head(envelope.unverified_payload)
    if head.deployment != trust.policy.deployment:
        raise Refused(
            "list.deployment",
            "the revocation list belongs to another deployment",
            found=repr(str(head.deployment)),
            expected=repr(str(trust.policy.deployment)),
        )
    if head.issued.instant > now + CLOCK_SKEW:
        raise Refused(
            "list.future", "the revocation list was issued in the future", found=head.issued, expected=f"{now:%FT%TZ}"
        )
    return head


def _check_signature(envelope: dsse.Envelope, policy: Policy, now: datetime, signed_by: SignedBy) -> None:
    ends = {head_key.key: head_key.not_after for head_key in policy.head_keys}
    found = signed_by(envelope, {key: policy.keys[key] for key in ends})
    if not found:
        raise Refused(
            "list.signature",
            "the revocation list is not signed by a head key of the policy",
            expected=f"a signature by {' or '.join(ends)}",
        )
    end = max(ends[key] for key in found)
    if now >= end.instant:
        raise Refused("list.key-expired", "the head key's time is over", found=end, expected=f"{now:%FT%TZ}")


def _check_epoch(head: Head, trust: ListTrust) -> None:
    if head.epoch != trust.checkpoint.epoch:
        raise Refused(
            "list.epoch",
            "the revocation list and the checkpoint are of different epochs",
            found=f"list of epoch {head.epoch}",
            expected=f"epoch {trust.checkpoint.epoch}",
        )
    if head.trust.root > trust.root_version or head.trust.targets > trust.targets_version:
        raise Refused(
            "list.epoch",
            "the revocation list asks for newer trust than this host has",
            found=f"root {trust.root_version}, targets {trust.targets_version}",
            expected=f"root {head.trust.root}, targets {head.trust.targets}",
        )


def _read_tail(head: Head, checkpoint: Checkpoint, files: Files, known: tuple[Segment, ...]) -> tuple[Segment, ...]:
    following = checkpoint.through + 1
    for ref in head.segments:
        if ref.first != following or ref.last < ref.first:
            raise Refused(
                "list.segments",
                "the list's segments are not contiguous",
                found=f"{ref.first} to {ref.last}",
                expected=f"a segment from {following}",
            )
        following = ref.last + 1
    if following != head.seq + 1:
        raise Refused(
            "list.segments", "the segments do not reach the head", found=str(following - 1), expected=str(head.seq)
        )
    if sum(ref.count for ref in head.segments) > MAX_TAIL:
        raise Refused("list.segments", "the tail is too long", expected=f"at most {MAX_TAIL} entries")
    return tuple(Segment(ref, _merged(ref, known) or _read_segment(ref, files)) for ref in head.segments)


def _merged(ref: SegmentRef, known: tuple[Segment, ...]) -> frozenset[bytes] | None:
    """A segment made of neighbours that were read before, if they give exactly the one that the head names."""
    parts = [part for part in known if ref.first <= part.ref.first and part.ref.last <= ref.last]
    if sum(part.ref.last - part.ref.first + 1 for part in parts) != ref.last - ref.first + 1:
        return None
    if len(parts) == 1 and parts[0].ref == ref:
        return parts[0].prefixes
    prefixes = frozenset[bytes]().union(*(part.prefixes for part in parts))
    return prefixes if len(prefixes) == ref.count and sha256_hex(dump_set_file(prefixes)) == ref.sha256 else None


def _read_segment(ref: SegmentRef, files: Files) -> frozenset[bytes]:
    prefixes = parse_set_file(bytes(_read(files, "segments", ref.sha256, "list.segments")))
    if len(prefixes) != ref.count:
        raise Refused("list.segments", "a segment's count differs", found=str(len(prefixes)), expected=str(ref.count))
    return frozenset(prefixes)


def _computed_base(current: RevocationList | None, checkpoint: Checkpoint) -> SetFile | None:
    if current is None:
        return None
    if current.checkpoint.root == checkpoint.root:
        return _counted(current.base, checkpoint)
    taken = (segment.prefixes for segment in current.tail if segment.ref.last <= checkpoint.through)
    base = current.base.changed(frozenset[bytes]().union(*taken), map(prefix_of, checkpoint.removed))
    return _counted(base, checkpoint) if base.sha256 == checkpoint.root else None


def _read_base(checkpoint: Checkpoint, files: Files) -> SetFile:
    base = _counted(SetFile(_read(files, "bases", checkpoint.root, "list.base")), checkpoint)
    base.rest()
    return base


def _known_rules(current: RevocationList | None, head: Head, checkpoint: Checkpoint) -> tuple[Rules, Rules] | None:
    """The rules of the list in force, where the new one names the same."""
    if current is None or current.head.rules != head.rules or current.checkpoint.rules != checkpoint.rules:
        return None
    return current.rules, current.base_rules


def _read_rules(head: Head, checkpoint: Checkpoint, files: Files) -> tuple[Rules, Rules]:
    """The rules in force, and those that the checkpoint names: a head may add to them, and not take away."""
    rules = parse_rules(bytes(_read(files, "rules", head.rules.sha256, "list.segments")))
    if len(rules.rules) != head.rules.count:
        raise Refused(
            "list.segments",
            "the rules file does not match the head",
            found=f"{len(rules.rules)} rules",
            expected=str(head.rules.count),
        )
    if checkpoint.rules == head.rules.sha256:
        return rules, rules
    if checkpoint.rules == sha256_hex(EMPTY_RULES):
        return rules, parse_rules(EMPTY_RULES)
    base_rules = parse_rules(bytes(_read(files, "rules", checkpoint.rules, "list.base")))
    _check_rules_kept(base_rules, rules)
    return rules, base_rules


def _counted(base: SetFile, checkpoint: Checkpoint) -> SetFile:
    if len(base.data) != checkpoint.count * PREFIX:
        raise Refused(
            "list.base", "the base's count differs", found=f"{len(base)} entries", expected=str(checkpoint.count)
        )
    return base


def _read(files: Files, kind: FileKind, name: Hex, code: str) -> Buffer:
    data = files(kind, name)
    digest = hashlib.sha256(data).hexdigest()
    if digest != name:
        raise Refused(code, f"a file of the revocation list ({kind}) is damaged", found=digest, expected=name)
    return data


def _check_epochs(old: RevocationList, new: RevocationList) -> None:
    """From one epoch to a later one, neighbours or not: what the checkpoint does not name is still there."""
    checkpoint = new.checkpoint
    removed = frozenset(map(prefix_of, checkpoint.removed))
    if old.base.lost(new.base, removed) is not None:
        raise _fork("the new base lost an entry that the checkpoint does not name as removed")
    kept = old.base_rules.rules
    if old.head.epoch >= checkpoint.carry:
        kept = old.rules.rules
        for segment in old.tail:
            judged = segment.ref.last <= checkpoint.through
            if not all(new.holds(prefix) or (judged and prefix in removed) for prefix in segment.prefixes):
                raise _fork("entries of the tail are gone, and the checkpoint does not name them as removed")
    changed = {rule.id for rule in new.base_rules.rules}.union(checkpoint.removed_rules)
    _check_rules_kept(Rules(v=1, rules=tuple(rule for rule in kept if rule.id not in changed)), new.rules)


def _check_rules_kept(rules: Rules, new: Rules) -> None:
    kept = {rule.id: rule for rule in new.rules}
    if any(kept.get(rule.id) != rule for rule in rules.rules):
        raise _fork("a standing rule is gone or changed")


def _rollback(what: str, found: object, seen: object) -> None:
    raise Refused(
        "list.rollback",
        f"the list's {what} is lower than one already seen",
        found=str(found),
        expected=f"{seen} or later",
    )


def _fork(what: str) -> Refused:
    return Refused("list.fork", f"the list contradicts one already seen: {what}")
