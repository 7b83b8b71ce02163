"""Sessions: who is signed in at the console. A browser holds a secret, the database its sha256."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlmodel import col, delete, select

from crl_server.access.roles import ROLES, Identity
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import ConsoleSession
from verifier.errors import Refused
from verifier.formats.text import Hex, Time

SECRET_BYTES = 32
MAX_SECRET = 100
"""How many characters are looked at as a session's secret at all."""
IDLE = timedelta(minutes=30)
"""After how long without a page a session ends."""
LIFE = timedelta(hours=8)
"""After how long a session ends, whatever happens in it."""
TOUCH = timedelta(minutes=1)
"""How exactly it is known when a session was last used: not every page has to write."""
MAX_SESSIONS = 20
"""How many sessions one person may have; a further one ends the oldest."""


def begin(ledger: Ledger, identity: Identity, source: str, now: datetime) -> str:
    """Begin a session; returns its secret, which is kept nowhere.

    Args:
        ledger: an open transaction.
        identity: who has signed in.
        source: on whose word: what has to go on being true of it is judged at every page.
        now: the moment (aware, UTC).
    """
    _forget(ledger, now)
    own = select(ConsoleSession).where(ConsoleSession.actor == identity.actor)
    for row in ledger.session.exec(own.order_by(col(ConsoleSession.began).desc()).offset(MAX_SESSIONS - 1)):
        ledger.session.delete(row)
    secret = secrets.token_urlsafe(SECRET_BYTES)
    at = Time.of(now)
    ledger.session.add(
        ConsoleSession(
            sha256=_hash(secret), actor=identity.actor, roles=" ".join(sorted(identity.roles)), source=source,
            began=at, used=at, ends=Time.of(now + LIFE),
        )
    )  # fmt: skip
    ledger.session.flush()
    return secret


def find(ledger: Ledger, secret: str, now: datetime) -> ConsoleSession:
    """The session of that secret.

    Raises:
        Refused: ``auth.session``; it does not say whether it is unknown or over.
    """
    row = ledger.session.get(ConsoleSession, _hash(secret)) if 0 < len(secret) <= MAX_SECRET else None
    if row is None or not _lasts(row, now):
        raise Refused("auth.session", "nobody is signed in here, or not any more")
    return row


def _lasts(row: ConsoleSession, now: datetime) -> bool:
    began, used, ends = (Time(at).instant for at in (row.began, row.used, row.ends))
    return began - TOUCH <= now < min(ends, used + IDLE)  # one that is still to begin is of a clock that was wrong


def identity_of(row: ConsoleSession) -> Identity:
    """Who a session is of; nothing is published through the console, so of no plugin."""
    held = set(row.roles.split())
    return Identity(row.actor, frozenset(role for role in ROLES if role in held), frozenset())


def is_due(row: ConsoleSession, now: datetime) -> bool:
    """Whether its last use is worth writing down again."""
    return now - Time(row.used).instant >= TOUCH


def touch(ledger: Ledger, secret: str, now: datetime) -> None:
    """Remember that a session was used; raises as :func:`find`."""
    row = find(ledger, secret, now)
    row.used = Time.of(now)
    ledger.session.add(row)


def end(ledger: Ledger, secret: str) -> str | None:
    """End a session; returns whose it was, or None when there was none."""
    row = ledger.session.get(ConsoleSession, _hash(secret)) if 0 < len(secret) <= MAX_SECRET else None
    if row is None:
        return None
    ledger.session.delete(row)
    return row.actor


def form_token(secret: str) -> Hex:
    """What a form of this session carries; whoever reads the database cannot make it."""
    return Hex(hmac.new(secret.encode("utf-8", "surrogateescape"), b"form", hashlib.sha256).hexdigest())


def _forget(ledger: Ledger, now: datetime) -> None:
    over = (col(ConsoleSession.ends) <= Time.of(now)) | (col(ConsoleSession.used) <= Time.of(now - IDLE))
    ledger.session.exec(delete(ConsoleSession).where(over))


def _hash(secret: str) -> Hex:
    return Hex(hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest())
