"""Revoking: what an order must look like, and the one transaction that commits it. Publishing follows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from crl_server.lists import rules
from crl_server.lists.rules import SEVERITIES, Severity
from crl_server.plugins import registry
from crl_server.records.audit import Act
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Revocation
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


class Why(NamedTuple):
    """Why something is revoked: a reason of the vocabulary, a note that may be empty, and how severe it is."""

    reason: str
    note: str = ""
    severity: Severity | None = None

    def check(self) -> None:
        """Demand known words, and a plain note.

        Raises:
            UsageError: ``usage.arguments``.
        """
        check_words(self.reason, self.note)
        if self.severity not in (None, *SEVERITIES):
            raise UsageError("usage.arguments", "unknown severity", expected=", ".join(SEVERITIES))

    @property
    def detail(self) -> dict[str, Any]:
        """As the audit log has it."""
        shown = {"reason": self.reason, "note": self.note}
        return shown if self.severity is None else shown | {"severity": self.severity}


@dataclass(frozen=True)
class Order:
    """What is to be revoked.

    Attributes:
        digests: of the artifacts, each once; they need not have been admitted.
        reason: one of :data:`crl_server.lists.rules.REASONS`.
        note: a sentence for those who ask later; may be empty.
        severity: how severe the matter is; None where nobody has said so.
        confirm: how many admitted artifacts it may newly deny, beyond what passes without a confirmation.

    Raises:
        UsageError: ``usage.arguments``.
    """

    digests: tuple[Digest, ...]
    reason: str
    note: str = ""
    severity: Severity | None = None
    confirm: int = 0

    @property
    def why(self) -> Why:
        """Why, as one value."""
        return Why(self.reason, self.note, self.severity)

    def __post_init__(self) -> None:
        count = len(self.digests)
        if not 1 <= count <= MAX_DIGESTS or len(set(self.digests)) != count:
            raise UsageError(
                "usage.arguments", "the digests to revoke", found=str(count), expected=f"1 to {MAX_DIGESTS}, each once"
            )
        self.why.check()

    @property
    def fingerprint(self) -> Hex:
        """What tells this order from another."""
        return fingerprint(b"revoke", dumps([sorted(self.digests), *self.why]))


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
    half_a_character = re.search("[\ud800-\udfff]", note)  # what the command line makes of bytes that are not UTF-8
    if len(note) > MAX_NOTE or half_a_character or not re.match(PARAGRAPHS, note):
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
        Refused: ``list.full``, ``revocation.reach``.
    """
    listed = {digest: ledger.listed(digest) for digest in order.digests}
    new = tuple(digest for digest, seq in listed.items() if seq is None)
    check_room(ledger, new, through)
    check_reach(ledger, new, order.confirm)
    seq = ledger.add_event(new, now) if new else max(known for known in listed.values() if known is not None)
    give_reasons(ledger, dict.fromkeys(order.digests, order.why), listed, seq, actor, now, order.confirm)
    known = tuple(digest for digest in order.digests if listed[digest] is not None)
    return Revoked(seq=seq, revoked=new, already=known)


def check_room(ledger: Ledger, new: Sequence[Digest], through: int) -> None:
    """Demand that digests which are to be listed fit into the tail.

    Args:
        ledger: an open transaction.
        new: the digests.
        through: the last event that the checkpoint has taken into its base.

    Raises:
        Refused: ``list.full``.
    """
    tail = ledger.entry_count(through + 1, ledger.last_seq())
    strange = len(set(new) - registry.usable(ledger)) if rules.is_short(tail, len(new)) else 0
    rules.check_room(tail, len(new), strange)


def check_reach(ledger: Ledger, new: Sequence[Digest], confirmed: int) -> None:
    """Demand that digests which are to be listed are not more of what was admitted than may be without a confirmation.

    Raises:
        Refused: ``revocation.reach``.
    """
    if len(new) > max(rules.FREE_REACH, confirmed):
        usable = registry.usable(ledger)
        rules.check_reach(len(usable.intersection(new)), len(usable), confirmed)


def give_reasons(
    ledger: Ledger, given: Mapping[Digest, Why], listed: Mapping[Digest, int | None], seq: int, actor: str,
    now: datetime, confirmed: int = 0,
) -> None:  # fmt: skip
    """Keep why digests are on the list, and record each.

    Args:
        ledger: an open transaction, in which they were listed.
        given: the digests, each with its reason.
        listed: the event that had listed a digest before, if one had.
        seq: the event that lists the others.
        actor: who revokes.
        now: the moment (aware, UTC).
        confirmed: how many somebody has confirmed that it may deny; 0 for nobody.
    """
    pinned = ledger.newest_pinned()  # older reasons may be withdrawn by a request that is open; this one must not be
    acts = []
    for digest, why in given.items():
        if why.reason not in ledger.own_reasons(digest, pinned):
            ledger.add_reason(Revocation(digest=digest, at=Time.of(now), by=actor, **why._asdict()))
        known = listed[digest]
        detail = {**why.detail, "seq": seq if known is None else known}
        acts.append(Act(actor, "artifact.revoke", digest, detail | ({"confirmed": confirmed} if confirmed else {})))
    ledger.record_all(acts, now)
