"""Idempotency keys: a write that is sent twice is done once, and answered alike.

The semantics are those of the Idempotency-Key header of HTTP (IETF httpapi working group): the key belongs to whoever
sent it; the same key with another request is refused.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlmodel import col, delete

from crl_server.ledger import Ledger
from crl_server.tables import IdempotencyKey
from verifier.errors import Refused, UsageError
from verifier.formats.text import Hex, Time

MAX_KEY = 200
"""How many characters a key may have."""
KEPT = timedelta(days=7)
"""How long keys are remembered."""


def check_key(key: str) -> None:
    """Demand that a key is printable ASCII of a reasonable length; the empty key stands for none.

    Raises:
        UsageError: ``usage.arguments``.
    """
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise UsageError(
            "usage.arguments", "the idempotency key is not usable", expected=f"up to {MAX_KEY} ASCII characters"
        )


def fingerprint(*parts: bytes) -> Hex:
    """What tells one request from another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return Hex(digest.hexdigest())


def answered(ledger: Ledger, actor: str, key: str, request: Hex) -> bytes | None:
    """What was answered to this request under this key; None when it is new, or has no key.

    Raises:
        Refused: ``request.idempotency`` when the key was used for another request.
    """
    known = ledger.session.get(IdempotencyKey, (actor, key)) if key else None
    if known is None:
        return None
    if known.request != request:
        raise Refused("request.idempotency", "this idempotency key was used before for another request")
    return known.answer.encode()


def remember(ledger: Ledger, actor: str, key: str, request: Hex, answer: bytes, now: datetime) -> None:
    """Keep what was answered under a key."""
    if key:
        row = IdempotencyKey(actor=actor, key=key, request=request, answer=answer.decode(), at=Time.of(now))
        ledger.session.add(row)


def forget(ledger: Ledger, now: datetime) -> None:
    """Drop the keys that have been kept long enough."""
    ledger.session.exec(delete(IdempotencyKey).where(col(IdempotencyKey.at) < Time.of(now - KEPT)))
