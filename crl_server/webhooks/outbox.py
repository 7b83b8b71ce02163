"""What each webhook is still to be told: deliveries, written down from the audit log in its order, and struck out once
they are done. Each function works in an open transaction: what writes down in one of :meth:`Store.write`, what takes,
strikes out or puts off a delivery in one of :meth:`Store.claim`, so that none of that keeps a revocation waiting.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlmodel import col, delete, func, select, update
from sqlmodel.sql.expression import SelectOfScalar

from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import WebhookCursor, WebhookDelivery
from crl_server.webhooks.events import kind_of
from verifier.formats.text import Time

PAGE = 500
"""How many entries of the audit log are looked at in one transaction."""
ATTEMPTS = 15
"""After how many attempts a delivery is given up."""
FIRST_PAUSE = timedelta(seconds=5)
"""How long to wait after the first failure; twice as long after each further one."""
LONGEST_PAUSE = timedelta(hours=6)
LEASE = timedelta(seconds=60)
"""For how long a delivery belongs to whoever has begun it. Whoever dies over it leaves it to the next after that."""
MAX_FOUND = 300


class Backlog(NamedTuple):
    """How many deliveries of a webhook are pending and given up, and since when the oldest one that pends is due."""

    pending: int
    dead: int
    position: int


class Taken(NamedTuple):
    """A delivery that was begun: its entry of the audit log, and which attempt it is."""

    number: int
    attempt: int


def begin(ledger: Ledger, webhook: str) -> None:
    """Let a webhook that is new be told of what happens from now on."""
    if ledger.session.get(WebhookCursor, webhook) is None:
        ledger.session.add(WebhookCursor(webhook=webhook, position=ledger.audit_state().count))


def behind(ledger: Ledger, webhook: str) -> bool:
    """Whether there is more in the audit log than was written down for a webhook."""
    cursor = ledger.session.get(WebhookCursor, webhook)
    return cursor is not None and cursor.position < ledger.audit_state().count


def fill(ledger: Ledger, webhook: str, topics: Collection[str], now: datetime) -> int:
    """Write down what a webhook is to be told of the next entries of the audit log; how many entries were looked at.

    One that was never begun, or is forgotten, is told of nothing: whoever removes it while it is told has the last say.
    """
    cursor = ledger.session.get(WebhookCursor, webhook)
    if cursor is None:
        return 0
    lines = list(ledger.audit_lines(cursor.position - 1, PAGE))
    for number, line in enumerate(lines, cursor.position):
        kind = kind_of(line)
        if kind is not None and kind.topic in topics:
            ledger.session.add(WebhookDelivery(webhook=webhook, number=number, due=Time.of(now)))
    cursor.position += len(lines)
    ledger.session.add(cursor)
    return len(lines)


def is_due(ledger: Ledger, webhook: str, now: datetime) -> bool:
    """Whether any delivery is due."""
    return ledger.session.exec(_due(webhook, now)).first() is not None


def claim(ledger: Ledger, webhook: str, now: datetime) -> Taken | None:
    """Begin the first delivery that is due and that nobody else is about to begin: count the attempt, and keep others
    from it for a while.
    """
    row = ledger.session.exec(_due(webhook, now).with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    row.attempts, row.due = row.attempts + 1, Time.of(now + LEASE)
    ledger.session.add(row)
    return Taken(row.number, row.attempts)


def _due(webhook: str, now: datetime) -> SelectOfScalar[WebhookDelivery]:
    # What is put off for longer than anything ever is was put off by a clock that has been set back since.
    due = (col(WebhookDelivery.due) <= Time.of(now)) | (col(WebhookDelivery.due) > Time.of(now + LONGEST_PAUSE))
    query = select(WebhookDelivery).where(WebhookDelivery.webhook == webhook, col(WebhookDelivery.dead).is_(None), due)
    return query.order_by(col(WebhookDelivery.number)).limit(1)


def delivered(ledger: Ledger, webhook: str, number: int) -> None:
    """Strike a delivery out."""
    ledger.session.exec(
        delete(WebhookDelivery).where(col(WebhookDelivery.webhook) == webhook, col(WebhookDelivery.number) == number)
    )


def failed(ledger: Ledger, webhook: str, taken: Taken, found: str, now: datetime) -> bool:
    """Put a delivery off, or give it up; whether it was given up.

    Whoever took so long that another has begun it meanwhile has no say in it any more.
    """
    query = select(WebhookDelivery).where(WebhookDelivery.webhook == webhook, WebhookDelivery.number == taken.number)
    row = ledger.session.exec(query.with_for_update()).first()
    if row is None or row.attempts != taken.attempt:
        return False
    row.found = found[:MAX_FOUND]
    row.due = Time.of(now + pause(row.attempts))
    if row.attempts >= ATTEMPTS:
        row.dead = Time.of(now)
    ledger.session.add(row)
    return row.dead is not None


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts, with jitter: between half and the whole of a pause that doubles."""
    longest: timedelta = min(FIRST_PAUSE * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


def revive(ledger: Ledger, webhook: str, now: datetime) -> int:
    """Begin anew with all deliveries that were given up; how many."""
    again = (
        update(WebhookDelivery)
        .where(col(WebhookDelivery.webhook) == webhook, col(WebhookDelivery.dead).is_not(None))
        .values(dead=None, attempts=0, due=Time.of(now))
    )
    return int(ledger.session.exec(again).rowcount)


def stop(ledger: Ledger, webhook: str) -> None:
    """Write down nothing more for a webhook; it is told of what was written down, unless that is forgotten too."""
    ledger.session.exec(delete(WebhookCursor).where(col(WebhookCursor.webhook) == webhook))


def forget(ledger: Ledger, webhook: str) -> None:
    """Forget all that was written down for a webhook."""
    ledger.session.exec(delete(WebhookDelivery).where(col(WebhookDelivery.webhook) == webhook))


def backlog(ledger: Ledger, webhook: str) -> Backlog:
    """How much a webhook is still to be told."""
    cursor = ledger.session.get(WebhookCursor, webhook)
    count = select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.webhook == webhook)
    return Backlog(
        pending=ledger.session.exec(count.where(col(WebhookDelivery.dead).is_(None))).one(),
        dead=ledger.session.exec(count.where(col(WebhookDelivery.dead).is_not(None))).one(),
        position=-1 if cursor is None else cursor.position,
    )


def given_up(ledger: Ledger) -> list[str]:
    """What people are told of deliveries that were given up."""
    query = select(WebhookDelivery.webhook, func.count()).where(col(WebhookDelivery.dead).is_not(None))
    rows = ledger.session.exec(query.group_by(col(WebhookDelivery.webhook)).order_by(col(WebhookDelivery.webhook)))
    return [f"the webhook {name} was not told of {count} events, which are given up" for name, count in rows]
