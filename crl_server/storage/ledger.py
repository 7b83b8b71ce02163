"""What the service asks of its database, in one transaction: the audit log, the list, settings.

Other modules ask their own questions through its session: the registry, tokens, idempotency keys. What every revocation
asks and writes is put to the database as statements that were made once, past the session's objects: they would cost
more than all the rest of a revocation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Executable, bindparam, insert, update
from sqlalchemy import delete as delete_rows
from sqlalchemy import select as select_columns
from sqlmodel import Session, SQLModel, col, func, select

from crl_server.records import audit
from crl_server.records.audit import Act
from crl_server.storage.tables import AuditLine, ListEntry, Revocation
from verifier.formats.revocations import AuditHead, SegmentRef, sha256_hex
from verifier.formats.text import Digest, Hex, Time

RESTORED = "restored"
"""The setting that says that a backup was restored and that hosts may have seen more than it knows."""
RECOVERED = "recovered"
"""The setting that names the publication of a lost database from which this one goes on."""
RULES_FLOOR = "rules-floor"
"""The setting that new rules' numbers lie above, after numbers were lost."""
MAX_ID = 2_000_000_000
"""The highest number of a row that anybody may ask for: what PostgreSQL calls an integer ends a little above."""
MAX_PAGE = 1000
"""How many rows a page may have."""
IN_ONE_QUERY = 500
"""How many values are put into one query."""

_Values = Mapping[str, object]
_AUDIT, _EVENT, _ENTRY, _SEGMENT, _REASON, _SETTING, _WISH = (
    SQLModel.metadata.tables[name]
    for name in ("audit_line", "event", "list_entry", "list_segment", "revocation", "setting", "reinstatement")
)
_LAST_LINE = select_columns(_AUDIT.c.index, _AUDIT.c.sha256).order_by(_AUDIT.c.index.desc()).limit(1)
_LAST_EVENT = select_columns(func.max(_EVENT.c.seq))
_REMOVED = select_columns(_ENTRY.c.digest).where(_ENTRY.c.removed.is_not(None))
_LIST_AGAIN = update(_ENTRY).where(_ENTRY.c.digest == bindparam("which")).values(seq=bindparam("event"), removed=None)
_LISTED = select_columns(_ENTRY.c.seq).where(_ENTRY.c.digest == bindparam("which"), _ENTRY.c.removed.is_(None))
_BETWEEN = _ENTRY.c.seq.between(bindparam("first"), bindparam("last"))
_ENTRIES = select_columns(_ENTRY.c.digest).where(_BETWEEN)
_COUNT = select_columns(func.count()).select_from(_ENTRY).where(_BETWEEN)
_SEGMENTS = select_columns(
    _SEGMENT.c.first, _SEGMENT.c.last, _SEGMENT.c.entries, _SEGMENT.c.sha256
).order_by(_SEGMENT.c.first)  # fmt: skip
_DROP_SEGMENT = delete_rows(_SEGMENT).where(_SEGMENT.c.first == bindparam("which"))
_PINNED = select_columns(func.max(_WISH.c.newest)).where(_WISH.c.epoch.is_(None))
_OWN_REASONS = select_columns(_REASON.c.reason).where(
    _REASON.c.digest == bindparam("which"), _REASON.c.withdrawn.is_(None), _REASON.c.rule.is_(None),
    _REASON.c.id > bindparam("above"),
)  # fmt: skip
_GET = select_columns(_SETTING.c.value).where(_SETTING.c.name == bindparam("which"))
_SET = update(_SETTING).where(_SETTING.c.name == bindparam("which")).values(value=bindparam("new"))
_ADD_LINE, _ADD_EVENT, _ADD_ENTRY, _ADD_SEGMENT, _ADD_REASON, _ADD_SETTING = (
    insert(table) for table in (_AUDIT, _EVENT, _ENTRY, _SEGMENT, _REASON, _SETTING)
)


class Ledger:
    """One open transaction.

    Attributes:
        session: SQLModel's session, for the modules that ask other questions.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._log: AuditHead | None = None

    def _run(
        self, statement: Executable, values: _Values | Sequence[_Values] | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        return self.session.connection().execute(statement, values)

    # -- audit log -----------------------------------------------------------------------------------------------------

    def audit_state(self) -> AuditHead:
        """The audit log's length and last hash."""
        if self._log is None:
            last = self._run(_LAST_LINE).first()
            self._log = audit.EMPTY if last is None else AuditHead(count=last[0] + 1, sha256=Hex(last[1]))
        return self._log

    def audit_state_at(self, count: int) -> AuditHead | None:
        """The audit log's state after ``count`` entries, by the bytes of the last one; None when there are fewer."""
        if count == 0:
            return audit.EMPTY
        last = next(self.audit_lines(after=count - 2, limit=1), None)
        return None if last is None else AuditHead(count=count, sha256=sha256_hex(last))

    def record(self, act: Act, now: datetime) -> None:
        """Append an entry to the audit log.

        Raises:
            FormatError: ``format.too-large`` or ``format.schema``.
        """
        self.record_all([act], now)

    def record_all(self, acts: Iterable[Act], now: datetime) -> None:
        """Append entries to the audit log, in their order; raises as :meth:`record`."""
        state, lines = self.audit_state(), []
        for act in acts:
            line, following = audit.append(state, act, now)
            lines.append({"index": state.count, "line": line, "sha256": following.sha256})
            state = following
        if lines:
            self._run(_ADD_LINE, lines)
        self._log = state

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
        return self._run(_LAST_EVENT).scalar() or 0

    def add_event(self, digests: Iterable[Digest], now: datetime) -> int:
        """Put digests on the list that are not on it, or no longer; returns the new event's number."""
        seq = self.last_seq() + 1
        self._run(_ADD_EVENT, {"seq": seq, "at": Time.of(now)})
        # Removals are rare: to know all of them costs less than to ask for each digest.
        removed = set(self._run(_REMOVED).scalars())
        new = []
        for digest in digests:
            if digest in removed:
                self._run(_LIST_AGAIN, {"which": digest, "event": seq})
            else:
                new.append({"digest": digest, "seq": seq})
        if new:
            self._run(_ADD_ENTRY, new)
        return seq

    def listed(self, digest: Digest) -> int | None:
        """The number of the event that put a digest on the list, or None."""
        found: int | None = self._run(_LISTED, {"which": digest}).scalar()
        return found

    def entries(self, first: int, last: int) -> Iterator[Digest]:
        """The digests that the events ``first`` to ``last`` put on the list."""
        yield from (Digest(digest) for digest in self._run(_ENTRIES, {"first": first, "last": last}).scalars())

    def entry_count(self, first: int, last: int) -> int:
        """How many digests the events ``first`` to ``last`` put on the list."""
        return self._run(_COUNT, {"first": first, "last": last}).scalar() or 0

    def segments(self) -> tuple[SegmentRef, ...]:
        """The segments of the last publication."""
        return tuple(
            SegmentRef(first=first, last=last, count=count, sha256=Hex(sha256))
            for first, last, count, sha256 in self._run(_SEGMENTS)
        )

    def replace_segments(self, segments: Sequence[SegmentRef]) -> None:
        """Remember the segments of a publication."""
        before = frozenset(self.segments())
        gone = [{"which": ref.first} for ref in before.difference(segments)]
        if gone:
            self._run(_DROP_SEGMENT, gone)
        new = [
            {"first": ref.first, "last": ref.last, "entries": ref.count, "sha256": ref.sha256}
            for ref in segments if ref not in before
        ]  # fmt: skip
        if new:
            self._run(_ADD_SEGMENT, new)

    # -- reasons -------------------------------------------------------------------------------------------------------

    def add_reason(self, revocation: Revocation) -> None:
        """Remember why a digest is on the list."""
        self._run(_ADD_REASON, revocation.model_dump(exclude={"id"}))

    def newest_pinned(self) -> int:
        """The newest reason that an open request for reinstatement may withdraw; 0 when none is open."""
        return self._run(_PINNED).scalar() or 0

    def own_reasons(self, digest: Digest, above: int) -> set[str]:
        """For which reasons a digest is on the list by itself, and not by a rule, that are newer than an id."""
        return set(self._run(_OWN_REASONS, {"which": digest, "above": above}).scalars())

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
        found: str | None = self._run(_GET, {"which": name}).scalar()
        return found

    def set(self, name: str, value: str) -> None:
        """Remember a fact about the deployment."""
        if not self._run(_SET, {"which": name, "new": value}).rowcount:
            self._run(_ADD_SETTING, {"name": name, "value": value})


def in_parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Values, so many at a time as are put into one query."""
    return (values[at : at + IN_ONE_QUERY] for at in range(0, len(values), IN_ONE_QUERY))
