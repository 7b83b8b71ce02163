"""What the console asks of the database beyond what the API asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement
from sqlmodel import col, func, literal_column, or_, select

from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import (
    Artifact,
    AuditLine,
    Component,
    Event,
    HostInstance,
    HostPlugin,
    ListEntry,
    Reinstatement,
    Revocation,
    RuleException,
    StandingRule,
    WaiverRow,
)


class Counts(NamedTuple):
    """How much there is of everything."""

    revoked: int
    rules: int
    plugins: int
    artifacts: int
    awaiting_approval: int
    awaiting_checkpoint: int


class Shown(NamedTuple):
    """A reason for which an artifact is or was on the list, with what is known of the artifact."""

    revocation: Revocation
    seq: int
    plugin_id: str | None
    version: str | None


def counts(ledger: Ledger) -> Counts:
    """How much there is of everything."""

    def count(query: object) -> int:
        return ledger.session.exec(query).one()  # type: ignore[call-overload,no-any-return]

    listed = select(func.count()).select_from(ListEntry).where(col(ListEntry.removed).is_(None))
    rules = select(func.count()).select_from(StandingRule).where(col(StandingRule.removed).is_(None))
    requests = select(func.count()).select_from(Reinstatement).where(col(Reinstatement.epoch).is_(None))
    return Counts(
        revoked=count(listed),
        rules=count(rules),
        plugins=count(select(func.count(func.distinct(Artifact.plugin_id)))),
        artifacts=count(select(func.count()).select_from(Artifact)),
        awaiting_approval=count(requests.where(col(Reinstatement.approved_by).is_(None))),
        awaiting_checkpoint=count(requests.where(col(Reinstatement.approved_by).is_not(None))),
    )


def newest_revocations(
    ledger: Ledger, limit: int, before: int | None = None, reason: str = "", by: str = ""
) -> Sequence[Shown]:
    """Reasons below the id ``before``, the newest first.

    Args:
        ledger: an open transaction.
        limit: how many at most.
        before: the id of the last one that was seen.
        reason: only those of this reason; empty for any.
        by: only those by this actor; empty for any.
    """
    query = (
        select(Revocation, ListEntry.seq, Artifact.plugin_id, Artifact.version)
        .join(ListEntry, col(Revocation.digest) == col(ListEntry.digest))
        .join(Artifact, col(Revocation.digest) == col(Artifact.digest), isouter=True)
    )
    if before is not None:
        query = query.where(col(Revocation.id) < before)
    if reason:
        query = query.where(Revocation.reason == reason)
    if by:
        query = query.where(Revocation.by == by)
    return [Shown(*row) for row in ledger.session.exec(query.order_by(col(Revocation.id).desc()).limit(limit))]


def open_requests(ledger: Ledger, after: int, limit: int, *, approved: bool) -> Sequence[Reinstatement]:
    """Requests to take something back that no checkpoint has carried out, the oldest first, past the id ``after``:
    those that a second person has agreed to, or those that await one.
    """
    query = select(Reinstatement).where(col(Reinstatement.epoch).is_(None), col(Reinstatement.id) > after)
    by = col(Reinstatement.approved_by)
    query = query.where(by.is_not(None) if approved else by.is_(None))
    return ledger.session.exec(query.order_by(col(Reinstatement.id)).limit(limit)).all()


def plugin_ids(ledger: Ledger, limit: int = 500) -> Sequence[str]:
    """The ids of plugins, for who types one."""
    query = select(Artifact.plugin_id).distinct().order_by(col(Artifact.plugin_id)).limit(limit)
    return ledger.session.exec(query).all()


def event(ledger: Ledger, seq: int) -> Event | None:
    """An event of the list."""
    return ledger.session.get(Event, seq)


def listed_by(ledger: Ledger, seq: int, limit: int) -> Sequence[tuple[str, str | None, str | None]]:
    """The digests that an event put on the list, with plugin and version of those that were admitted."""
    query = (
        select(ListEntry.digest, Artifact.plugin_id, Artifact.version)
        .join(Artifact, col(ListEntry.digest) == col(Artifact.digest), isouter=True)
        .where(ListEntry.seq == seq)
        .order_by(col(ListEntry.digest))
        .limit(limit)
    )
    return ledger.session.exec(query).all()


def rules_of(ledger: Ledger, seq: int) -> Sequence[StandingRule]:
    """The standing rules that an event brought."""
    return ledger.session.exec(select(StandingRule).where(StandingRule.seq == seq)).all()


def past_requests(ledger: Ledger, before: int, limit: int) -> Sequence[Reinstatement]:
    """Requests that a checkpoint has carried out, the newest first, below the id ``before`` (0: from the newest)."""
    query = select(Reinstatement).where(col(Reinstatement.epoch).is_not(None))
    if before:
        query = query.where(col(Reinstatement.id) < before)
    return ledger.session.exec(query.order_by(col(Reinstatement.id).desc()).limit(limit)).all()


def open_waivers(ledger: Ledger, now: str) -> Sequence[WaiverRow]:
    """Waivers that were asked for and have not ended, the oldest first."""
    query = select(WaiverRow).where(col(WaiverRow.until) > now, col(WaiverRow.ended_at).is_(None))
    return ledger.session.exec(query.order_by(col(WaiverRow.id))).all()


def past_waivers(ledger: Ledger, now: str, before: int, limit: int) -> Sequence[WaiverRow]:
    """Waivers that have ended, the newest first, below the id ``before`` (0: from the newest)."""
    over = (col(WaiverRow.until) <= now) | col(WaiverRow.ended_at).is_not(None)
    query = select(WaiverRow).where(over)
    if before:
        query = query.where(col(WaiverRow.id) < before)
    return ledger.session.exec(query.order_by(col(WaiverRow.id).desc()).limit(limit)).all()


# -- the registry ------------------------------------------------------------------------------------------------------


def components(ledger: Ledger, digest: str, after: int, limit: int) -> Sequence[Component]:
    """The components of an artifact past the id ``after``, as its SBOM lists them."""
    query = select(Component).where(Component.artifact == digest, col(Component.id) > after)
    return ledger.session.exec(query.order_by(col(Component.id)).limit(limit)).all()


def component_count(ledger: Ledger, digest: str) -> int:
    """How many components an artifact has."""
    return ledger.session.exec(select(func.count()).select_from(Component).where(Component.artifact == digest)).one()


def all_reasons(ledger: Ledger, digest: str) -> Sequence[Revocation]:
    """Every reason for which a digest is or was on the list, the newest first."""
    query = select(Revocation).where(Revocation.digest == digest)
    return ledger.session.exec(query.order_by(col(Revocation.id).desc())).all()


def requests_about(ledger: Ledger, digest: str) -> Sequence[Reinstatement]:
    """Open requests to take that digest back."""
    query = select(Reinstatement).where(Reinstatement.digest == digest, col(Reinstatement.epoch).is_(None))
    return ledger.session.exec(query.order_by(col(Reinstatement.id))).all()


# -- standing rules ----------------------------------------------------------------------------------------------------


def rules(ledger: Ledger, before: int, limit: int) -> Sequence[StandingRule]:
    """Standing rules that there are or were, the newest first, below the number ``before`` (0: from the newest)."""
    query = select(StandingRule)
    if before:
        query = query.where(col(StandingRule.number) < before)
    return ledger.session.exec(query.order_by(col(StandingRule.number).desc()).limit(limit)).all()


def reached(ledger: Ledger, numbers: Sequence[int]) -> dict[int | None, int]:
    """How many reasons on the list come from each of these rules; those that no reason comes from are not there."""
    own = (col(Revocation.withdrawn).is_(None), col(Revocation.rule).in_(numbers))
    query = select(Revocation.rule, func.count()).where(*own).group_by(col(Revocation.rule))
    return dict(ledger.session.exec(query).all())


def rules_about(ledger: Ledger, plugin_id: str) -> Sequence[StandingRule]:
    """The rules in force that deny an artifact of that plugin that was admitted."""
    own = select(Artifact.digest).where(Artifact.plugin_id == plugin_id)
    numbers = select(Revocation.rule).where(col(Revocation.digest).in_(own), col(Revocation.rule).is_not(None))
    query = select(StandingRule).where(col(StandingRule.number).in_(numbers), col(StandingRule.removed).is_(None))
    return ledger.session.exec(query.order_by(col(StandingRule.number))).all()


def exceptions(ledger: Ledger, numbers: Sequence[int]) -> dict[int, int]:
    """How many artifacts each of these rules excepts; rules without exceptions are not there."""
    query = select(RuleException.rule, func.count()).where(col(RuleException.rule).in_(numbers))
    query = query.group_by(col(RuleException.rule))
    return dict(ledger.session.exec(query).all())


# -- the audit log -----------------------------------------------------------------------------------------------------


def audit_lines(ledger: Ledger, first: int, end: int) -> Sequence[tuple[int, bytes]]:
    """Entries from the index ``first`` to before ``end``, the last one first, as they are stored."""
    query = select(AuditLine.index, AuditLine.line).where(col(AuditLine.index) >= first, col(AuditLine.index) < end)
    rows: Sequence[tuple[int, object]] = ledger.session.exec(query.order_by(col(AuditLine.index).desc())).all()
    # Who tampers may have put text there, where SQLite allows it.
    return [(index, line if isinstance(line, bytes) else str(line).encode()) for index, line in rows]


# -- search ------------------------------------------------------------------------------------------------------------


def _has(wanted: str, *columns: object) -> ColumnElement[bool]:
    """Whether one of these columns contains what is wanted, in capitals or not, on every engine."""
    return or_(*(col(column).icontains(wanted, autoescape=True) for column in columns))


def artifacts_like(ledger: Ledger, wanted: str, prefix: str, limit: int) -> Sequence[Artifact]:
    """Artifacts whose digest begins with ``prefix`` (unless that is empty), or whose file name contains ``wanted``."""
    fits = _has(wanted, Artifact.file_name)
    if prefix:
        fits = fits | col(Artifact.digest).startswith(f"sha256:{prefix}", autoescape=True)
    return ledger.session.exec(select(Artifact).where(fits).order_by(col(Artifact.digest)).limit(limit)).all()


def components_like(ledger: Ledger, wanted: str, limit: int) -> Sequence[tuple[Component, str, str]]:
    """Components whose name or purl contains ``wanted``, with plugin and version of what brings them along."""
    fits = _has(wanted, Component.name, Component.purl)
    query = (
        select(Component, Artifact.plugin_id, Artifact.version)
        .join(Artifact, col(Component.artifact) == col(Artifact.digest))
        .where(fits)
        .order_by(col(Component.name), col(Component.id))
        .limit(limit)
    )
    return ledger.session.exec(query).all()


def revocations_like(ledger: Ledger, wanted: str, prefix: str, limit: int) -> Sequence[Revocation]:
    """Reasons whose digest begins with ``prefix`` (unless that is empty), or whose note or actor has ``wanted``."""
    fits = _has(wanted, Revocation.note, Revocation.by)
    if prefix:
        fits = fits | col(Revocation.digest).startswith(f"sha256:{prefix}", autoescape=True)
    return ledger.session.exec(select(Revocation).where(fits).order_by(col(Revocation.id).desc()).limit(limit)).all()


def rules_like(ledger: Ledger, wanted: str, number: int | None, limit: int) -> Sequence[StandingRule]:
    """Standing rules of that number, or whose note contains ``wanted``."""
    fits = _has(wanted, StandingRule.note)
    if number is not None:
        fits = fits | (col(StandingRule.number) == number)
    return ledger.session.exec(select(StandingRule).where(fits).order_by(col(StandingRule.number)).limit(limit)).all()


# -- hosts -------------------------------------------------------------------------------------------------------------


def instances(ledger: Ledger, host: str) -> Sequence[HostInstance]:
    """The processes of a host."""
    query = select(HostInstance).where(HostInstance.host == host)
    return ledger.session.exec(query.order_by(col(HostInstance.instance))).all()


def running_on(ledger: Ledger, host: str, limit: int = 1000) -> Sequence[HostPlugin]:
    """What the processes of a host have loaded."""
    query = select(HostPlugin).where(HostPlugin.host == host)
    order = (col(HostPlugin.plugin_id), col(HostPlugin.digest), col(HostPlugin.instance))
    return ledger.session.exec(query.order_by(*order).limit(limit)).all()


def hosts_like(ledger: Ledger, wanted: str, limit: int) -> Sequence[str]:
    """Hosts whose name contains ``wanted``."""
    query = select(HostInstance.host).where(col(HostInstance.host).contains(wanted.lower(), autoescape=True)).distinct()
    return ledger.session.exec(query.order_by(col(HostInstance.host)).limit(limit)).all()


# -- over time ---------------------------------------------------------------------------------------------------------


def revoked_by_day(ledger: Ledger, since: str) -> dict[str, int]:
    """How many reasons were given on each day (``YYYY-MM-DD``) from ``since`` on; days without any are not there."""
    # As constants: PostgreSQL would take two parameters for two different expressions.
    day = func.substr(Revocation.at, literal_column("1"), literal_column("10"))
    query = select(day, func.count()).where(col(Revocation.at) >= since).group_by(day)
    return dict(ledger.session.exec(query).all())
