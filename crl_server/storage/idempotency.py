"""Idempotency keys: a write that is sent twice is done once, and answered alike.

The semantics are those of the Idempotency-Key header of HTTP (IETF httpapi working group): the key belongs to whoever
sent it; the same key with another request is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from sqlmodel import col, delete

from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import IdempotencyKey
from verifier.errors import Refused, UsageError
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Hex, Time

D = TypeVar("D", bound=Document)

MAX_KEY = 200
"""How many characters a key may have."""
MAX_ANSWER = 1024 * 1024
"""Size cap of a remembered answer in bytes."""
KEPT = timedelta(days=7)
"""How long keys are remembered."""


class Asked(NamedTuple):
    """Who asks for what (a fingerprint), under which key; an empty key stands for none."""

    actor: str
    key: str
    request: Hex


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


def once(ledger: Ledger, asked: Asked, kind: type[D], do: Callable[[], D], now: datetime) -> D:
    """Do something, unless it was done before under this key: then what was answered comes back.

    Args:
        ledger: an open transaction, in which ``do`` works too.
        asked: who asks for what, under which key.
        kind: the type of the answer.
        do: does it.
        now: the moment (aware, UTC).

    Raises:
        Refused: as :func:`answered`; and whatever ``do`` raises.
    """
    known = answered(ledger, asked.actor, asked.key, asked.request)
    if known is not None:
        return parse(known, kind, limit=MAX_ANSWER, what="remembered answer")
    done = do()
    remember(ledger, asked.actor, asked.key, asked.request, dumps(done), now)
    return done


def forget(ledger: Ledger, now: datetime) -> None:
    """Drop the keys that have been kept long enough."""
    ledger.session.exec(delete(IdempotencyKey).where(col(IdempotencyKey.at) < Time.of(now - KEPT)))
