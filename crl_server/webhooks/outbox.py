"""What each webhook is still to be told: deliveries, written down from the audit log in its order, and struck out once
they are done. Each function works in an open transaction.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlmodel import col, delete, func, select, update

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


def behind(ledger: Ledger, webhook: str) -> bool:
    """Whether there is more in the audit log than was written down for a webhook."""
    cursor = ledger.session.get(WebhookCursor, webhook)
    return cursor is None or cursor.position < ledger.audit_state().count


def fill(ledger: Ledger, webhook: str, topics: Collection[str], now: datetime) -> int:
    """Write down what a webhook is to be told of the next entries of the audit log; how many entries were looked at.

    A webhook that is new is told of what happens from now on.
    """
    cursor = ledger.session.get(WebhookCursor, webhook)
    if cursor is None:
        ledger.session.add(WebhookCursor(webhook=webhook, position=ledger.audit_state().count))
        return 0
    lines = list(ledger.audit_lines(cursor.position - 1, PAGE))
    for number, line in enumerate(lines, cursor.position):
        kind = kind_of(line)
        if kind is not None and kind.topic in topics:
            ledger.session.add(WebhookDelivery(webhook=webhook, number=number, due=Time.of(now)))
    cursor.position += len(lines)
    ledger.session.add(cursor)
    return len(lines)


def next_due(ledger: Ledger, webhook: str, now: datetime) -> WebhookDelivery | None:
    """The first delivery that is due."""
    query = select(WebhookDelivery).where(
        WebhookDelivery.webhook == webhook, col(WebhookDelivery.dead).is_(None), WebhookDelivery.due <= Time.of(now)
    )
    return ledger.session.exec(query.order_by(col(WebhookDelivery.number)).limit(1)).first()


def claim(ledger: Ledger, delivery: WebhookDelivery, now: datetime) -> bool:
    """Begin a delivery: count the attempt, and keep others from it for a while. False when another was faster."""
    taken = (
        update(WebhookDelivery)
        .where(col(WebhookDelivery.webhook) == delivery.webhook, col(WebhookDelivery.number) == delivery.number)
        .where(col(WebhookDelivery.attempts) == delivery.attempts, col(WebhookDelivery.dead).is_(None))
        .values(attempts=delivery.attempts + 1, due=Time.of(now + LEASE))
    )
    return ledger.session.exec(taken).rowcount == 1


def delivered(ledger: Ledger, webhook: str, number: int) -> None:
    """Strike a delivery out."""
    ledger.session.exec(
        delete(WebhookDelivery).where(col(WebhookDelivery.webhook) == webhook, col(WebhookDelivery.number) == number)
    )


def failed(ledger: Ledger, webhook: str, number: int, found: str, now: datetime) -> bool:
    """Put a delivery off, or give it up; whether it was given up."""
    row = ledger.session.get(WebhookDelivery, (webhook, number))
    if row is None:
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


def forget(ledger: Ledger, webhook: str) -> None:
    """Forget all that a webhook is to be told."""
    ledger.session.exec(delete(WebhookDelivery).where(col(WebhookDelivery.webhook) == webhook))
    ledger.session.exec(delete(WebhookCursor).where(col(WebhookCursor.webhook) == webhook))


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
