"""What a revocation list looks like, from events: pure, without HTTP, SQL, files or a clock.

The numbers of the rules are those under "What a server does" in ``docs/spec/revocation-list.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, get_args

from crl_server.records import audit
from verifier.errors import Refused
from verifier.formats.revocations import (
    EMPTY_RULES,
    EMPTY_SET,
    MAX_TAIL,
    AuditHead,
    Checkpoint,
    Head,
    RulesRef,
    SegmentRef,
    TrustMinimum,
    sha256_hex,
)
from verifier.formats.text import Name, Time

Reason = Literal[
    "malicious", "vulnerability", "key-compromise", "policy-breach", "superseded", "withdrawn-by-owner", "mistake",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why an artifact is revoked: a closed vocabulary."""

RESERVED = 10_000
"""How many of a tail's entries are kept for what was admitted: whoever may revoke can make up digests, and must
not keep others from revoking what is in use.
"""
FREE_REACH = 20
"""How many admitted artifacts one act may newly deny in any case."""
FREE_SHARE = 4
"""Beyond that, one in how many of those that are admitted and not denied yet."""

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""How severe the matter is, where somebody has said so."""

HEAD_LIFE = timedelta(hours=24)
"""How long a head is valid, unless the deployment says otherwise."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clock may lag behind the last signed head; it is what clients tolerate in the other direction."""
GROWTH = 2
"""A segment is merged into the one before it unless that has at least this many times its entries."""

EMPTY_RULES_REF = RulesRef(sha256=sha256_hex(EMPTY_RULES), count=0)
"""No standing rules."""


class Span(NamedTuple):
    """A run of events, first and last included, and how many entries they added."""

    first: int
    last: int
    entries: int


def grow(spans: Sequence[Span], through: int, seq: int, count: int, prepared: int = 0) -> tuple[Span, ...]:
    """The tail's segments once events up to ``seq`` are added (rule 2).

    New events stand alone, so that a client that is up to date fetches nothing it has; earlier segments are merged
    with neighbours until each holds at least twice the entries of the next, so that their number stays logarithmic.

    Args:
        spans: the segments of the last publication, contiguous from ``through`` + 1.
        through: the last event of the checkpoint.
        seq: the last event of all.
        count: entries of the events after the last span.
        prepared: the last event of a checkpoint that awaits its signatures; no segment reaches across it.

    Returns:
        The same spans when there is no new event.
    """
    last = spans[-1].last if spans else through
    if seq == last:
        return tuple(spans)
    merged: list[Span] = []
    for span in spans:
        merged.append(span)
        while len(merged) > 1 and merged[-2].entries < GROWTH * merged[-1].entries and merged[-2].last != prepared:
            newer, older = merged.pop(), merged.pop()
            merged.append(Span(older.first, newer.last, older.entries + newer.entries))
    return (*merged, Span(last + 1, seq, count))


def check_room(tail: int, more: int, strange: int = 0) -> None:
    """Demand that ``more`` entries fit into a tail of ``tail`` entries (rule 7).

    Args:
        tail: how many entries it has.
        more: how many are to be added.
        strange: how many of these nobody has admitted; asked for where :func:`is_short` says so.

    Raises:
        Refused: ``list.full``.
    """
    if tail + more > MAX_TAIL:
        raise Refused(
            "list.full",
            "the revocation list has no room for this before the next checkpoint",
            found=f"{tail} entries and {more} more",
            expected=f"at most {MAX_TAIL}",
        )
    if strange and is_short(tail, more):
        raise Refused(
            "list.full",
            "what room is left before the next checkpoint is for artifacts that were admitted",
            found=f"{tail} entries and {more} more, of which nobody has admitted {strange}",
            expected=f"at most {MAX_TAIL - RESERVED} with these",
        )


def is_short(tail: int, more: int) -> bool:
    """Whether ``more`` entries would reach into the room that is kept for what was admitted."""
    return tail + more > MAX_TAIL - RESERVED


def check_reach(reached: int, usable: int, confirmed: int) -> None:
    """Demand that one act does not deny more than a person has said it may.

    Args:
        reached: how many admitted artifacts it would newly deny.
        usable: how many are admitted and not denied yet.
        confirmed: how many somebody has confirmed; 0 when nobody was asked.

    Raises:
        Refused: ``revocation.reach``.
    """
    free = max(FREE_REACH, usable // FREE_SHARE)
    if reached > max(free, confirmed):
        raise Refused(
            "revocation.reach", "this would deny much of what is in use at once",
            found=f"{reached} of {usable} admitted artifacts", expected=f"at most {free}, or the number confirmed",
            todo=f"Look at a dry run first; if all of it is meant, confirm the number {reached}.",
        )  # fmt: skip


def first_checkpoint(deployment: Name) -> Checkpoint:
    """The checkpoint of a new deployment: epoch 1 over an empty base."""
    return Checkpoint(
        v=1,
        deployment=deployment,
        epoch=1,
        through=0,
        root=sha256_hex(EMPTY_SET),
        count=0,
        rules=EMPTY_RULES_REF.sha256,
        removed=(),
        removed_rules=(),
        carry=1,
        audit=audit.EMPTY,
    )


def issue_time(now: datetime, last: Time | None) -> Time:
    """When a head signed at ``now`` counts as issued: never before the last one (rule 5).

    Raises:
        Refused: ``clock.behind`` when the clock lags by more than clients tolerate.
    """
    if last is None or now >= last.instant:
        return Time.of(now)
    if last.instant - now > CLOCK_TOLERANCE:
        raise Refused(
            "clock.behind",
            "this machine's clock is behind the last signed list",
            found=f"{Time.of(now)}",
            expected=f"{last} or later",
        )
    return last


def make_head(
    checkpoint: Checkpoint,
    *,
    issued: Time,
    life: timedelta,
    trust: TrustMinimum,
    segments: Sequence[SegmentRef],
    rules: RulesRef,
    log: AuditHead,
) -> Head:
    """The head over ``segments``, which cover events from the checkpoint on; ``log`` is the audit log's state."""
    return Head(
        v=1,
        deployment=checkpoint.deployment,
        epoch=checkpoint.epoch,
        seq=segments[-1].last if segments else checkpoint.through,
        issued=issued,
        expires=Time.of(issued.instant + life),
        trust=trust,
        segments=tuple(segments),
        rules=rules,
        audit=log,
    )


def half_spent(issued: datetime, expires: datetime, now: datetime) -> bool:
    """Whether less than half of the time between ``issued`` and ``expires`` is left at ``now``."""
    return expires - now < (expires - issued) / 2
