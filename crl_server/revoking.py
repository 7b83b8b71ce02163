"""Revoking: what an order must look like, and the one transaction that commits it. Publishing follows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from crl_server import rules
from crl_server.audit import Act
from crl_server.idempotency import fingerprint
from crl_server.ledger import Ledger
from crl_server.tables import Revocation
from verifier.errors import UsageError
from verifier.formats.strict_json import Document, dumps
from verifier.formats.text import PARAGRAPHS, Digest, Hex, Time

MAX_DIGESTS = 1000
"""How many digests one order may revoke."""
MAX_NOTE = 2000
"""How many characters a note may have."""


class Revoked(Document, frozen=True, kw_only=True):
    """What a revocation led to: the list's event that covers it, what is new on the list, and what was there before."""

    seq: int
    revoked: tuple[Digest, ...]
    already: tuple[Digest, ...] = ()


@dataclass(frozen=True)
class Order:
    """What is to be revoked.

    Attributes:
        digests: of the artifacts, each once; they need not have been admitted.
        reason: one of :data:`crl_server.rules.REASONS`.
        note: a sentence for those who ask later; may be empty.

    Raises:
        UsageError: ``usage.arguments``.
    """

    digests: tuple[Digest, ...]
    reason: str
    note: str = ""

    def __post_init__(self) -> None:
        count = len(self.digests)
        if not 1 <= count <= MAX_DIGESTS or len(set(self.digests)) != count:
            raise UsageError(
                "usage.arguments", "the digests to revoke", found=str(count), expected=f"1 to {MAX_DIGESTS}, each once"
            )
        check_words(self.reason, self.note)

    @property
    def fingerprint(self) -> Hex:
        """What tells this order from another."""
        return fingerprint(b"revoke", dumps([sorted(self.digests), self.reason, self.note]))


def check_words(reason: str, note: str) -> None:
    """Demand a reason of the vocabulary, and a plain note.

    Raises:
        UsageError: ``usage.arguments``.
    """
    if reason not in rules.REASONS:
        raise UsageError(
            "usage.arguments", "unknown reason", found=repr(reason[:80]), expected=", ".join(rules.REASONS)
        )
    check_note(note)


def check_note(note: str) -> None:
    """Demand a note that shows as it is written.

    Raises:
        UsageError: ``usage.arguments``.
    """
    if len(note) > MAX_NOTE or not re.match(PARAGRAPHS, note):
        raise UsageError("usage.arguments", "the note is not plain text", expected=f"up to {MAX_NOTE} characters")


def commit(ledger: Ledger, order: Order, through: int, actor: str, now: datetime) -> Revoked:
    """Put an order's digests on the list and into the audit log, all or none.

    Args:
        ledger: an open transaction.
        order: what is to be revoked.
        through: the last event that the checkpoint has taken into its base.
        actor: who revokes.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``list.full``.
    """
    listed = {digest: ledger.listed(digest) for digest in order.digests}
    new = tuple(digest for digest, seq in listed.items() if seq is None)
    rules.check_room(ledger.entry_count(through + 1, ledger.last_seq()), len(new))
    seq = ledger.add_event(new, now) if new else max(known for known in listed.values() if known is not None)
    pinned = ledger.newest_pinned()  # older reasons may be withdrawn by a request that is open; this one must not be
    for digest, known in listed.items():
        if all(given.reason != order.reason or (given.id or 0) <= pinned for given in ledger.reasons(digest)):
            row = Revocation(digest=digest, reason=order.reason, note=order.note, at=Time.of(now), by=actor)
            ledger.add_reason(row)
        detail = {"reason": order.reason, "note": order.note, "seq": seq if known is None else known}
        ledger.record(Act(actor, "artifact.revoke", digest, detail), now)
    return Revoked(seq=seq, revoked=new, already=tuple(digest for digest in order.digests if digest not in new))
