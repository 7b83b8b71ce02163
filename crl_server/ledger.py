"""What the service asks of its database, in one transaction: the audit log, the list, settings.

Other modules ask their own questions through its session: the registry, tokens, idempotency keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sqlmodel import Session, col, delete, func, select, update

from crl_server import audit
from crl_server.audit import Act
from crl_server.tables import AuditLine, Event, ListEntry, ListSegment, Reinstatement, Revocation, Setting
from verifier.formats.revocations import AuditHead, SegmentRef
from verifier.formats.text import Digest, Hex, Time

RESTORED = "restored"
"""The setting that says that a backup was restored and that hosts may have seen more than it knows."""
RECOVERED = "recovered"
"""The setting that names the publication of a lost database from which this one goes on."""
RULES_FLOOR = "rules-floor"
"""The setting that new rules' numbers lie above, after numbers were lost."""
MAX_PAGE = 1000
"""How many rows a page may have."""


class Ledger:
    """One open transaction.

    Attributes:
        session: SQLModel's session, for the modules that ask other questions.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    # -- audit log -----------------------------------------------------------------------------------------------------

    def audit_state(self) -> AuditHead:
        """The audit log's length and last hash."""
        query = select(AuditLine.index, AuditLine.sha256).order_by(col(AuditLine.index).desc()).limit(1)
        last = self.session.exec(query).first()
        return audit.EMPTY if last is None else AuditHead(count=last[0] + 1, sha256=Hex(last[1]))

    def record(self, act: Act, now: datetime) -> None:
        """Append an entry to the audit log.

        Raises:
            FormatError: ``format.too-large`` or ``format.schema``.
        """
        self.record_all([act], now)

    def record_all(self, acts: Iterable[Act], now: datetime) -> None:
        """Append entries to the audit log, in their order; raises as :meth:`record`."""
        state = self.audit_state()
        for act in acts:
            line, following = audit.append(state, act, now)
            self.session.add(AuditLine(index=state.count, line=line, sha256=following.sha256))
            state = following
        self.session.flush()

    def audit_lines(self, after: int = -1, limit: int | None = None) -> Iterator[bytes]:
        """Entries past index ``after``, in order, at most ``limit`` of them."""
        query = select(AuditLine.line).where(col(AuditLine.index) > after).order_by(col(AuditLine.index))
        for line in self.session.exec(query if limit is None else query.limit(limit)):
            # SQLite keeps whatever type was put there, and who tampers may have put text.
            stored: object = line
            yield stored if isinstance(stored, bytes) else str(stored).encode()

    def audit_since(self, known: AuditHead) -> Iterator[bytes]:
        """The entries that follow a state somebody vouched for; where the log was lost since, from its recovery on."""
        last = self.session.get(AuditLine, known.count - 1)
        if known.count == 0 or (last is not None and last.sha256 == known.sha256):
            return self.audit_lines(after=known.count - 1)
        query = select(AuditLine.index, AuditLine.line).order_by(col(AuditLine.index).desc())
        for index, line in self.session.exec(query):
            if audit.parse_entry(line).action == "list.recover":
                return self.audit_lines(after=index - 1)
        return self.audit_lines(after=known.count - 1)

    # -- the list ------------------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        """The number of the last event, 0 before the first."""
        return self.session.exec(select(func.max(Event.seq))).one() or 0

    def add_event(self, digests: Iterable[Digest], now: datetime) -> int:
        """Put digests on the list that are not on it, or no longer; returns the new event's number."""
        seq = self.last_seq() + 1
        self.session.add(Event(seq=seq, at=Time.of(now)))
        self.session.flush()
        # Removals are rare: to know all of them costs less than to ask for each digest.
        removed = set(self.session.exec(select(ListEntry.digest).where(col(ListEntry.removed).is_not(None))))
        for digest in digests:
            if digest in removed:
                again = update(ListEntry).where(col(ListEntry.digest) == digest).values(seq=seq, removed=None)
                self.session.exec(again)
            else:
                self.session.add(ListEntry(digest=digest, seq=seq))
        self.session.flush()
        return seq

    def listed(self, digest: Digest) -> int | None:
        """The number of the event that put a digest on the list, or None."""
        query = select(ListEntry.seq).where(ListEntry.digest == digest, col(ListEntry.removed).is_(None))
        return self.session.exec(query).first()

    def entries(self, first: int, last: int) -> Iterator[Digest]:
        """The digests that the events ``first`` to ``last`` put on the list."""
        query = select(ListEntry.digest).where(col(ListEntry.seq).between(first, last))
        yield from (Digest(digest) for digest in self.session.exec(query))

    def entry_count(self, first: int, last: int) -> int:
        """How many digests the events ``first`` to ``last`` put on the list."""
        query = select(func.count()).select_from(ListEntry).where(col(ListEntry.seq).between(first, last))
        return self.session.exec(query).one()

    def segments(self) -> tuple[SegmentRef, ...]:
        """The segments of the last publication."""
        rows = self.session.exec(select(ListSegment).order_by(col(ListSegment.first)))
        return tuple(
            SegmentRef(first=row.first, last=row.last, count=row.entries, sha256=Hex(row.sha256)) for row in rows
        )

    def replace_segments(self, segments: Sequence[SegmentRef]) -> None:
        """Remember the segments of a publication."""
        self.session.exec(delete(ListSegment))
        self.session.add_all(
            ListSegment(first=ref.first, last=ref.last, entries=ref.count, sha256=ref.sha256) for ref in segments
        )
        self.session.flush()

    # -- reasons -------------------------------------------------------------------------------------------------------

    def add_reason(self, revocation: Revocation) -> None:
        """Remember why a digest is on the list."""
        self.session.add(revocation)

    def newest_pinned(self) -> int:
        """The newest reason that an open request for reinstatement may withdraw; 0 when none is open."""
        query = select(func.max(Reinstatement.newest)).where(col(Reinstatement.epoch).is_(None))
        return self.session.exec(query).one() or 0

    def reasons(self, digest: Digest) -> Sequence[Revocation]:
        """Every reason for which a digest is on the list."""
        query = select(Revocation).where(Revocation.digest == digest, col(Revocation.withdrawn).is_(None))
        return self.session.exec(query.order_by(col(Revocation.id))).all()

    def revocations(self, after: int, limit: int) -> Sequence[tuple[Revocation, int]]:
        """Revocations past the id ``after`` with the number of the event that listed their digest."""
        query = (
            select(Revocation, ListEntry.seq)
            .where(Revocation.digest == ListEntry.digest)
            .where(col(Revocation.id) > after)
            .order_by(col(Revocation.id))
            .limit(limit)
        )
        return self.session.exec(query).all()

    # -- settings ------------------------------------------------------------------------------------------------------

    def setting(self, name: str) -> str | None:
        """A fact about the deployment, or None."""
        found = self.session.get(Setting, name)
        return None if found is None else found.value

    def set(self, name: str, value: str) -> None:
        """Remember a fact about the deployment."""
        self.session.merge(Setting(name=name, value=value))
