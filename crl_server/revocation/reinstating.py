"""Reinstatement: what somebody asks to take back, and the second person who agrees. A checkpoint carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, func, select, update

from crl_server.access.roles import is_same
from crl_server.records.audit import Act
from crl_server.revocation.revoking import check_note
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import MAX_ID, Ledger
from crl_server.storage.tables import ListEntry, Reinstatement, Revocation, RuleException, StandingRule
from verifier.errors import Refused, UsageError
from verifier.formats.strict_json import Document, dumps
from verifier.formats.text import Digest, Hex, Time

MAX_OPEN = 10_000
"""How many requests may be open at a time."""


class Requested(Document, frozen=True, kw_only=True):
    """A request's number, and what is still missing."""

    id: int
    missing: str


@dataclass(frozen=True)
class Wish:
    """What is to be taken back: an artifact for all reasons, a rule, or an artifact from one rule.

    Raises:
        UsageError: ``usage.arguments``.
    """

    digest: Digest | None
    rule: int | None
    note: str

    def __post_init__(self) -> None:
        if self.digest is None and self.rule is None:
            raise UsageError("usage.arguments", "nothing to reinstate", expected="a digest, a rule, or both")
        if self.rule is not None and not 1 <= self.rule <= MAX_ID:
            raise UsageError("usage.arguments", "no rule has this number", found=str(self.rule))
        if not self.note:
            raise UsageError("usage.arguments", "a reinstatement needs a note", expected="a sentence that says why")
        check_note(self.note)

    @property
    def fingerprint(self) -> Hex:
        """What tells this wish from another."""
        return fingerprint(b"reinstate", dumps([self.digest, self.rule, self.note]))

    @property
    def subject(self) -> str:
        """What it is about, for the audit log."""
        rule = f"R{self.rule}" if self.rule is not None else ""
        return " of ".join(part for part in (self.digest or "", rule) if part)


def ask(ledger: Ledger, wish: Wish, actor: str, now: datetime) -> Requested:
    """Record a wish, which withdraws the reasons that are known now and no later ones.

    Raises:
        Refused: ``reinstatement.unknown`` when it is neither listed nor in force; ``list.full``.
    """
    if wish.rule is not None:
        rule = ledger.session.get(StandingRule, wish.rule)
        if rule is None or rule.removed is not None:
            raise _unknown(f"R{wish.rule}")
    if wish.rule is None and wish.digest is not None and ledger.listed(wish.digest) is None:
        raise _unknown(wish.digest)
    open_ones = select(func.count()).select_from(Reinstatement).where(col(Reinstatement.epoch).is_(None))
    if ledger.session.exec(open_ones).one() >= MAX_OPEN:
        raise Refused("list.full", "too many reinstatements are open", expected=f"at most {MAX_OPEN}")
    newest = ledger.session.exec(select(func.max(Revocation.id))).one() or 0
    request = Reinstatement(
        digest=wish.digest, rule=wish.rule, newest=newest, note=wish.note, at=Time.of(now), by=actor
    )
    ledger.session.add(request)
    ledger.session.flush()
    detail = {"id": request.id, "note": wish.note}
    ledger.record(Act(actor, "reinstatement.request", wish.subject, detail), now)
    return Requested(id=request.id or 0, missing="the approval of a second person, and a checkpoint")


def approve(ledger: Ledger, number: int, actor: str, now: datetime) -> Requested:
    """Agree to somebody else's request.

    Raises:
        Refused: ``reinstatement.unknown``; ``reinstatement.own`` for one's own request.
    """
    request = ledger.session.get(Reinstatement, number) if number <= MAX_ID else None
    if request is None or request.epoch is not None:
        raise _unknown(f"request {number}")
    if is_same(request.by, actor):
        raise Refused(
            "reinstatement.own", "nobody approves a request of their own", found=actor, expected="a second person"
        )
    if request.approved_by is None:
        request.approved_by, request.approved_at = actor, Time.of(now)
        ledger.session.add(request)
        ledger.session.flush()
        digest = Digest(request.digest) if request.digest else None
        subject = Wish(digest, request.rule, request.note).subject
        ledger.record(
            Act(actor, "reinstatement.approve", subject, {"id": number, "by": request.by, "note": request.note}), now
        )
    return Requested(id=number, missing="a checkpoint")


def pending(ledger: Ledger) -> int:
    """How many requests await a second person."""
    waiting = col(Reinstatement.epoch).is_(None) & col(Reinstatement.approved_by).is_(None)
    return ledger.session.exec(select(func.count()).select_from(Reinstatement).where(waiting)).one()


def approved(ledger: Ledger) -> Sequence[Reinstatement]:
    """The requests that a second person agreed to, and that no checkpoint has carried out."""
    query = select(Reinstatement).where(col(Reinstatement.epoch).is_(None), col(Reinstatement.approved_by).is_not(None))
    return ledger.session.exec(query.order_by(col(Reinstatement.id))).all()


def ending(ledger: Ledger) -> frozenset[int]:
    """The numbers of the rules that an open request would take out of force, approved or not."""
    whole = (col(Reinstatement.epoch).is_(None), col(Reinstatement.digest).is_(None))
    numbers = ledger.session.exec(select(Reinstatement.rule).where(*whole)).all()
    return frozenset(number for number in numbers if number is not None)


def requests(ledger: Ledger, after: int, limit: int) -> Sequence[Reinstatement]:
    """A page of requests past the id ``after``."""
    query = select(Reinstatement).where(col(Reinstatement.id) > after).order_by(col(Reinstatement.id)).limit(limit)
    return ledger.session.exec(query).all()


def carry_out(ledger: Ledger, chosen: Sequence[Reinstatement], epoch: int) -> frozenset[Digest]:
    """Withdraw reasons, write exceptions and end rules; returns the digests that have no reason left.

    The caller decides what becomes of those, or rolls back when it only wanted to know.
    """
    touched: set[Digest] = set()
    for request in chosen:
        touched |= _carry_out_one(ledger, request, epoch)
        request.epoch = epoch
        ledger.session.add(request)
    ledger.session.flush()
    return frozenset(digest for digest in touched if not ledger.reasons(digest))


def take_off(ledger: Ledger, digests: frozenset[Digest], epoch: int) -> None:
    """Take digests off the list."""
    for digest in digests:
        ledger.session.exec(update(ListEntry).where(col(ListEntry.digest) == digest).values(removed=epoch))


def _carry_out_one(ledger: Ledger, request: Reinstatement, epoch: int) -> set[Digest]:
    reasons = select(Revocation).where(col(Revocation.withdrawn).is_(None), col(Revocation.id) <= request.newest)
    if request.digest is not None:
        reasons = reasons.where(Revocation.digest == request.digest)
    if request.rule is not None:
        reasons = reasons.where(Revocation.rule == request.rule)
    rows = ledger.session.exec(reasons).all()
    for row in rows:
        row.withdrawn = epoch
        ledger.session.add(row)
    if request.digest is None:
        rule = ledger.session.get(StandingRule, request.rule)
        if rule is not None and rule.removed is None:
            rule.removed = epoch
            ledger.session.add(rule)
    else:
        numbers = {request.rule} if request.rule is not None else {row.rule for row in rows if row.rule is not None}
        for number in numbers:
            ledger.session.merge(RuleException(rule=number, digest=request.digest))
    return {Digest(row.digest) for row in rows}


def _unknown(found: str) -> Refused:
    return Refused("reinstatement.unknown", "there is nothing to take back", found=found)
