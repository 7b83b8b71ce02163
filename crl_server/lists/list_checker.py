"""The checker that judges a list before it is published: apart from whoever wrote it, and from the bytes alone.

It shares the formats with the writer and nothing else, so that one mistake does not pass twice. What it looks at:

1. the envelope: its type, and a signature by a head key of the policy whose time is not over
2. links: deployment, epoch, trust, and the checkpoint's base and rules
3. ages: issued now, valid for as long as the deployment says
4. order: numbers and times at or past the last publication, and nothing of it gone
5. content: segments without a gap, ascending, of the size, count and digest that are stated, under the caps
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from verifier.errors import LoadlockError, Refused
from verifier.formats import dsse
from verifier.formats.policy import Policy
from verifier.formats.revocations import (
    MAX_SEGMENTS,
    MAX_TAIL,
    PREFIX,
    AuditHead,
    Checkpoint,
    Head,
    SegmentRef,
    parse_head,
    parse_rules,
)
from verifier.formats.text import Hex
from verifier.signatures.keys import PublicKey, signers

TOLERANCE = timedelta(minutes=5)
"""How far the time of issue may lie from the clock, in either direction."""

Read = Callable[[str, Hex], bytes]


@dataclass(frozen=True)
class Occasion:
    """What is known beside the list itself.

    Attributes:
        policy: the policy in force.
        checkpoint: the checkpoint in force.
        root, targets: the versions of the trust in force.
        life: how long a head is to be valid.
        now: the moment (aware, UTC).
        before: the head published before, of whatever epoch, already verified when it was; None for the first one.
        prepared: the last event of a checkpoint that awaits its signatures; 0 when there is none.
        log_lost: the audit log that ``before`` speaks of was lost with its database; this is the first list since.
        log_then: the state of the audit log at the length that ``before`` names, as its entries show it now; None when
            it is shorter, or for the first list.
    """

    policy: Policy
    checkpoint: Checkpoint
    root: int
    targets: int
    life: timedelta
    now: datetime
    before: Head | None
    prepared: int = 0
    log_lost: bool = False
    log_then: AuditHead | None = None


class ListChecker:
    """Checks one deployment's lists; content that was judged once is known by its digest afterwards.

    Args:
        read: reads a list file (kind, sha256) from where hosts will fetch it.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._entries: dict[Hex, frozenset[bytes]] = {}
        self._bases: set[tuple[Hex, int]] = set()

    def check(self, envelope: bytes, occasion: Occasion) -> Head:
        """Demand that a list may be published.

        Raises:
            Refused: ``server.lint``, with what is wrong.
        """
        try:
            head = parse_head(_signed_payload(envelope, occasion))  # (1)
            _check_links(head, occasion)  # (2)
            _check_ages(head, occasion)  # (3)
            _check_order(head, occasion)  # (4)
            self._check_segments(head, occasion)  # (5)
            self._check_base(occasion.checkpoint)
            self._check_rules(head, occasion)
        except LoadlockError as error:
            if error.code == "server.lint":
                raise
            raise _flaw(f"[{error.code}] {error.what}: {error.found}", error.expected) from error
        return head

    def _check_segments(self, head: Head, occasion: Occasion) -> None:
        if len(head.segments) > MAX_SEGMENTS or sum(ref.count for ref in head.segments) > MAX_TAIL:
            raise _flaw("a tail beyond its caps")
        end = occasion.checkpoint.through
        for ref in head.segments:
            if ref.first != end + 1 or ref.last < ref.first:
                raise _flaw(f"a segment from {ref.first} to {ref.last}", f"one that follows {end}")
            if ref.first <= occasion.prepared < ref.last:
                raise _flaw(f"a segment across the prepared checkpoint at {occasion.prepared}")
            end = ref.last
        if end != head.seq:
            raise _flaw(f"segments up to {end}", f"up to {head.seq}")
        content = {ref.sha256: self._segment(ref) for ref in head.segments}
        self._check_nothing_gone(content, head, occasion.before)
        self._entries = content

    def _check_nothing_gone(self, content: Mapping[Hex, frozenset[bytes]], head: Head, before: Head | None) -> None:
        if before is None or before.epoch != head.epoch:
            return
        gone = [ref for ref in before.segments if ref.sha256 not in content]
        if gone:
            now = frozenset[bytes]().union(*content.values())
            for ref in gone:
                if not self._segment(ref) <= now:
                    raise _flaw(f"entries of the events {ref.first} to {ref.last} are gone")

    def _segment(self, ref: SegmentRef) -> frozenset[bytes]:
        known = self._entries.get(ref.sha256)
        if known is None:
            data = self._content("segments", ref.sha256)
            if len(data) % PREFIX:
                raise _flaw("a segment that ends within an entry")
            entries = [data[at : at + PREFIX] for at in range(0, len(data), PREFIX)]
            known = frozenset(entries)
            if sorted(known) != entries:
                raise _flaw("a segment out of order, or with an entry twice")
        if len(known) != ref.count:
            raise _flaw(f"a segment of {len(known)} entries", f"{ref.count}, as the head says")
        return known

    def _check_base(self, checkpoint: Checkpoint) -> None:
        if (checkpoint.root, checkpoint.count) not in self._bases:
            data = self._content("bases", checkpoint.root)
            if len(data) != checkpoint.count * PREFIX:
                raise _flaw(f"a base of {len(data)} bytes", f"{checkpoint.count} entries")
            self._bases = {(checkpoint.root, checkpoint.count)}

    def _check_rules(self, head: Head, occasion: Occasion) -> None:
        found = {rule.id: rule for rule in parse_rules(self._content("rules", head.rules.sha256)).rules}
        if len(found) != head.rules.count:
            raise _flaw(f"{len(found)} rules", f"{head.rules.count}, as the head says")
        demanded = [occasion.checkpoint.rules]
        if occasion.before is not None and occasion.before.epoch == head.epoch:
            demanded.append(occasion.before.rules.sha256)
        for name in set(demanded) - {head.rules.sha256}:
            for rule in parse_rules(self._content("rules", name)).rules:
                if found.get(rule.id) != rule:
                    raise _flaw(f"the rule {rule.id} is gone or changed")

    def _content(self, kind: str, name: Hex) -> bytes:
        data = self._read(kind, name)
        if hashlib.sha256(data).hexdigest() != name:
            raise _flaw(f"a file of another content than its name says ({kind})", name)
        return data


def _signed_payload(data: bytes, occasion: Occasion) -> bytes:
    envelope = dsse.parse_envelope(data, what="list to be published")
    if envelope.payload_type != dsse.HEAD:
        raise _flaw(f"an envelope of type {envelope.payload_type!a}", dsse.HEAD)
    named = [found.key for found in occasion.policy.head_keys if occasion.now < found.not_after.instant]
    keys = [PublicKey.from_policy(occasion.policy.keys[key]) for key in named]
    for signature in envelope.signatures:
        alone = dsse.Envelope(
            payload_type=dsse.HEAD, unverified_payload=envelope.unverified_payload, signatures=(signature,)
        )
        if signature.keyid or not signers(alone, keys):
            raise _flaw(
                "a signature by another key, or with a key id",
                "such as head keys of the policy made whose time is not over",
            )
    if not envelope.signatures:
        raise _flaw("no signature")
    return envelope.unverified_payload


def _check_links(head: Head, occasion: Occasion) -> None:
    checkpoint = occasion.checkpoint
    for what, found, expected in (
        ("deployment", head.deployment, occasion.policy.deployment),
        ("epoch", head.epoch, checkpoint.epoch),
        ("root version", head.trust.root, occasion.root),
        ("policy's version", head.trust.targets, occasion.targets),
    ):
        if found != expected:
            raise _flaw(f"{what} {found!s}", str(expected))


def _check_ages(head: Head, occasion: Occasion) -> None:
    issued, expires = head.issued.instant, head.expires.instant
    if abs(issued - occasion.now) > TOLERANCE:
        raise _flaw(f"issued at {head.issued}", f"within five minutes of {occasion.now:%Y-%m-%dT%H:%M:%SZ}")
    if expires - issued != occasion.life or expires <= occasion.now:
        raise _flaw(f"expires at {head.expires}", f"{occasion.life} after {head.issued}")


def _check_order(head: Head, occasion: Occasion) -> None:
    before = occasion.before
    if before is None:
        return
    for what, found, last in (
        ("epoch and seq", (head.epoch, head.seq), (before.epoch, before.seq)),
        ("time of issue", head.issued, before.issued),
    ):
        if found < last:  # type: ignore[operator]
            raise _flaw(f"{what} {found!s}", f"{last!s} or later")
    if occasion.log_lost:
        return
    if head.audit.count < before.audit.count:
        raise _flaw(f"audit log {head.audit.count}", f"{before.audit.count} or later")
    if head.audit.count == before.audit.count and head.audit != before.audit:
        raise _flaw("another audit log of the same length")
    if occasion.log_then != before.audit:
        raise _flaw("another audit log than the one that was signed", f"the same {before.audit.count} entries")


def _flaw(found: str, expected: str = "") -> Refused:
    return Refused("server.lint", "the list about to be published is wrong", found=found, expected=expected)
