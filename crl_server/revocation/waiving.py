"""Waivers: what somebody asks to let pass, the second person who agrees, and the policy that then carries it out.

Anybody who may ask, approve or revoke may also end one: letting less pass takes no second person.

The database keeps requests and approvals; what hosts believe is the policy alone, which the offline key signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, func, select

from crl_server.access.roles import is_same
from crl_server.records.audit import Act
from crl_server.revocation.reinstating import Requested
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import MAX_ID, Ledger
from crl_server.storage.tables import WaiverRow
from verifier.errors import Refused, UsageError
from verifier.formats.policy import LONGEST_WAIVER, MAX_WAIVERS
from verifier.formats.policy_terms import Lifted, Waiver
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, Hex, Time

MAX_REASON = 500
"""How many characters a reason may have."""


@dataclass(frozen=True)
class Plea:
    """What is to pass for one artifact, until when, and why.

    Raises:
        UsageError: ``usage.arguments``.
    """

    artifact: Digest
    lifts: Lifted
    until: Time
    reason: str

    def __post_init__(self) -> None:
        if not 0 < len(self.reason) <= MAX_REASON or not self.reason.isprintable():
            raise UsageError(
                "usage.arguments", "a waiver needs a reason", expected=f"one line of up to {MAX_REASON} characters"
            )

    @property
    def fingerprint(self) -> Hex:
        """What tells this plea from another."""
        return fingerprint(b"waive", dumps([self.artifact, self.lifts, self.until, self.reason]))


def ask(ledger: Ledger, plea: Plea, actor: str, now: datetime) -> Requested:
    """Record what somebody asks for.

    Raises:
        UsageError: ``usage.arguments`` for an end that is past, or too far away.
        Refused: ``list.full`` when too many are open.
    """
    _check_end(plea.until, now)
    not_over = (WaiverRow.until > Time.of(now), col(WaiverRow.ended_at).is_(None))
    open_ones = select(func.count()).select_from(WaiverRow).where(*not_over)
    if ledger.session.exec(open_ones).one() >= MAX_WAIVERS:
        raise Refused("list.full", "too many waivers are open", expected=f"at most {MAX_WAIVERS}")
    row = WaiverRow(
        artifact=plea.artifact, lifts=plea.lifts, until=plea.until, reason=plea.reason, at=Time.of(now), by=actor
    )
    ledger.session.add(row)
    ledger.session.flush()
    detail = {"id": row.id, "lifts": plea.lifts, "until": plea.until, "reason": plea.reason}
    ledger.record(Act(actor, "waiver.request", plea.artifact, detail), now)
    return Requested(id=row.id or 0, missing="the approval of a second person, and a signed policy")


def approve(ledger: Ledger, number: int, actor: str, now: datetime) -> Requested:
    """Agree to what somebody else asked for.

    Raises:
        Refused: ``waiver.unknown``; ``waiver.own`` for one's own request; ``waiver.ended``.
        UsageError: ``usage.arguments`` when its end has come meanwhile.
    """
    row = _known(ledger, number)
    if row.ended_at is not None:
        raise Refused("waiver.ended", "somebody has ended this waiver", found=f"ended by {row.ended_by}")
    if is_same(row.by, actor):
        raise Refused("waiver.own", "nobody approves a waiver of their own", found=actor, expected="a second person")
    _check_end(Time(row.until), now)
    if row.approved_by is None:
        row.approved_by, row.approved_at = actor, Time.of(now)
        ledger.session.add(row)
        ledger.session.flush()
        detail = {"id": number, "by": row.by, "lifts": row.lifts, "until": row.until, "reason": row.reason}
        ledger.record(Act(actor, "waiver.approve", row.artifact, detail), now)
    return Requested(id=number, missing="a signed policy: 'loadlock waive sign'")


def end(ledger: Ledger, number: int, actor: str, now: datetime) -> Requested:
    """End a waiver before its time; one that was ended stays as it is.

    Raises:
        Refused: ``waiver.unknown``.
    """
    row = _known(ledger, number)
    if row.ended_at is None:
        row.ended_at, row.ended_by = Time.of(now), actor
        ledger.session.add(row)
        ledger.session.flush()
        detail = {"id": number, "by": row.by, "lifts": row.lifts, "until": row.until, "approved_by": row.approved_by}
        ledger.record(Act(actor, "waiver.end", row.artifact, detail), now)
    return Requested(id=number, missing="a signed policy without it, where one has it: 'loadlock waive sign'")


def _known(ledger: Ledger, number: int) -> WaiverRow:
    row = ledger.session.get(WaiverRow, number) if number <= MAX_ID else None
    if row is None:
        raise Refused("waiver.unknown", "nobody asked for such a waiver", found=str(number))
    return row


def pending(ledger: Ledger, now: datetime) -> int:
    """How many wait for a second person."""
    waiting = (
        WaiverRow.until > Time.of(now), col(WaiverRow.approved_by).is_(None), col(WaiverRow.ended_at).is_(None),
    )  # fmt: skip
    return ledger.session.exec(select(func.count()).select_from(WaiverRow).where(*waiting)).one()


def page(ledger: Ledger, after: int, limit: int) -> Sequence[WaiverRow]:
    """A page of waivers past the id ``after``."""
    query = select(WaiverRow).where(col(WaiverRow.id) > after).order_by(col(WaiverRow.id)).limit(limit)
    return ledger.session.exec(query).all()


def in_effect(ledger: Ledger, now: datetime) -> tuple[Waiver, ...]:
    """The waivers that two people want and that have not ended: the newest for each artifact and what it lifts.

    Whoever ends the newest does not bring one back that it had replaced.
    """
    approved = (WaiverRow.until > Time.of(now), col(WaiverRow.approved_by).is_not(None))
    rows = ledger.session.exec(select(WaiverRow).where(*approved).order_by(col(WaiverRow.id))).all()
    newest = {(row.artifact, row.lifts): row for row in rows}
    wanted = [row for row in newest.values() if row.ended_at is None]
    return tuple(_waiver(row) for row in sorted(wanted, key=lambda row: row.id or 0))


def _waiver(row: WaiverRow) -> Waiver:
    lifts: Lifted = "stale-list" if row.lifts == "stale-list" else "certification-expiry"
    return Waiver(
        id=row.id or 0, lifts=lifts, artifact=Digest(row.artifact), granted=Time(row.approved_at or ""),
        until=Time(row.until), reason=row.reason, asked_by=row.by, approved_by=row.approved_by or "",
    )  # fmt: skip


def _check_end(until: Time, now: datetime) -> None:
    if not now < until.instant <= now + LONGEST_WAIVER:
        raise UsageError(
            "usage.arguments", "the end of a waiver", found=until,
            expected=f"after now, and at most {LONGEST_WAIVER.days} days from it",
        )  # fmt: skip
