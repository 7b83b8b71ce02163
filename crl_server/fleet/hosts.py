"""What hosts say of themselves, in the database: kept, counted against the list, and forgotten.

The rules are those of ``docs/spec/acknowledgement.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal, NamedTuple

from sqlmodel import col, delete, func, select

from crl_server.storage.ledger import Ledger, in_parts
from crl_server.storage.tables import Artifact, HostInstance, HostPlugin
from verifier.errors import Refused, UsageError
from verifier.formats.acknowledgement import Acknowledgement
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import Document, dumps
from verifier.formats.text import Time

SILENT = timedelta(minutes=15)
"""After how long an instance counts as silent; it speaks every 5 minutes."""
FORGET_INSTANCE = timedelta(days=1)
"""After how long a silent instance is forgotten, if its host has others."""
FORGET_HOST = timedelta(days=30)
"""After how long a silent host is forgotten."""
MAX_INSTANCES = 256
"""How many instances of a host are kept."""
SHOWN = 1_000
"""How many hosts an answer names."""

State = Literal["current", "lagging", "regressed", "ahead", "silent"]


class Heard(NamedTuple):
    """A claim, and when it arrived."""

    claim: Acknowledgement
    at: datetime


class Coverage(Document, frozen=True, kw_only=True):
    """How far an event of the list has come: hosts heard of lately, those of them that enforce it, and the others."""

    seq: int
    hosts: int
    enforcing: int
    lagging: tuple[str, ...]
    silent: tuple[str, ...]
    lagging_count: int
    silent_count: int


class RunningOn(Document, frozen=True, kw_only=True):
    """A host that runs an artifact, in how many of its instances; ``silent`` when none of them was heard of lately."""

    host: str
    plugin_id: str
    version: str
    digest: str
    since: str
    instances: int
    stopped: int
    silent: bool


def keep(ledger: Ledger, heard: Collection[Heard]) -> None:
    """Remember claims, at most :data:`crl_server.storage.ledger.IN_ONE_QUERY`, one of each instance."""
    asked = (
        col(HostInstance.host).in_({claim.host for claim, _ in heard}),
        col(HostInstance.instance).in_({claim.instance for claim, _ in heard}),
    )
    known = {(row.host, row.instance): row for row in ledger.session.exec(select(HostInstance).where(*asked))}
    # Those that are known come first: a new one must not take the place of one that speaks in the same moment.
    for claim, at in sorted(heard, key=lambda one: (one.claim.host, one.claim.instance) not in known):
        _keep(ledger, known.get((claim.host, claim.instance)), claim, Time.of(at))
    ledger.session.flush()


def _keep(ledger: Ledger, known: HostInstance | None, claim: Acknowledgement, at: Time) -> None:
    plugins = sha256_hex(dumps(claim.plugins))
    if known is None:
        _make_room(ledger, claim.host)
    top = _top(ledger, claim.host) if known is None else (known.top_epoch, known.top_seq)
    top = max(top, (claim.epoch, claim.seq))
    if known is None or known.plugins != plugins:
        _replace_plugins(ledger, claim)
    row = known or HostInstance(host=claim.host, instance=claim.instance)  # type: ignore[call-arg]
    row.epoch, row.seq, row.policy, row.loadlock = claim.epoch, claim.seq, claim.policy, claim.loadlock
    row.top_epoch, row.top_seq = top
    row.plugins, row.running, row.omitted = plugins, len(claim.plugins), claim.omitted
    row.at, row.heard = claim.at, at
    ledger.session.add(row)


def _top(ledger: Ledger, host: str) -> tuple[int, int]:
    """The highest list that any instance of a host has named."""
    query = select(HostInstance.top_epoch, HostInstance.top_seq).where(HostInstance.host == host)
    return max(((epoch, seq) for epoch, seq in ledger.session.exec(query)), default=(0, 0))


def _make_room(ledger: Ledger, host: str) -> None:
    query = select(HostInstance.instance).where(HostInstance.host == host)
    kept = ledger.session.exec(query.order_by(col(HostInstance.heard).desc()).offset(MAX_INSTANCES - 1)).all()
    _drop(ledger, [(host, instance) for instance in kept])


def _replace_plugins(ledger: Ledger, claim: Acknowledgement) -> None:
    of_it = (HostPlugin.host == claim.host, HostPlugin.instance == claim.instance)
    ledger.session.exec(delete(HostPlugin).where(*of_it))  # type: ignore[arg-type]
    ledger.session.add_all(
        HostPlugin(
            host=claim.host, instance=claim.instance, digest=plugin.digest, plugin_id=plugin.id,
            version=plugin.version, since=plugin.since, state=plugin.state,
        )
        for plugin in claim.plugins
    )  # fmt: skip


def forget(ledger: Ledger, now: datetime) -> None:
    """Drop instances that have been silent for long: of hosts that others speak for, and of hosts that are gone."""
    silent = select(HostInstance).where(HostInstance.heard < Time.of(now - FORGET_INSTANCE))
    live = select(HostInstance.host).where(HostInstance.heard >= Time.of(now - SILENT)).distinct()
    rows = ledger.session.exec(silent).all()
    spoken_for = set(ledger.session.exec(live)) if rows else set()
    gone = Time.of(now - FORGET_HOST)
    _drop(ledger, [(row.host, row.instance) for row in rows if row.host in spoken_for or row.heard < gone])


def drop(ledger: Ledger, host: str, now: datetime) -> int:
    """Forget a host that is gone; returns how many instances it had.

    Raises:
        UsageError: ``usage.arguments`` for a host that was never heard of.
        Refused: ``host.heard`` for one that was heard of lately, and so is not gone.
    """
    rows = ledger.session.exec(select(HostInstance).where(HostInstance.host == host)).all()
    if not rows:
        raise UsageError("usage.arguments", f"no host {host!r} has ever acknowledged")
    last = max(row.heard for row in rows)
    if last >= Time.of(now - SILENT):
        raise Refused(
            "host.heard", f"the host {host!r} was heard of lately", found=last, expected="nothing for 15 minutes"
        )
    _drop(ledger, [(row.host, row.instance) for row in rows])
    return len(rows)


def _drop(ledger: Ledger, instances: Iterable[tuple[str, str]]) -> None:
    for host, instance in instances:
        for table in (HostPlugin, HostInstance):
            ledger.session.exec(delete(table).where(table.host == host, table.instance == instance))  # type: ignore[arg-type]


def state_of(row: HostInstance, seq: int, last: int, now: datetime) -> State:
    """How an instance stands towards an event.

    Args:
        row: what it said last.
        seq: the event.
        last: the last event that is committed.
        now: the moment (aware, UTC).
    """
    if row.heard < Time.of(now - SILENT):
        return "silent"
    if row.seq > last:
        return "ahead"
    if (row.epoch, row.seq) < (row.top_epoch, row.top_seq):
        return "regressed"
    return "current" if row.seq >= seq else "lagging"


def page(ledger: Ledger, after: str, limit: int) -> Sequence[HostInstance]:
    """The instances of up to ``limit`` hosts past ``after``, by host."""
    names = select(HostInstance.host).where(HostInstance.host > after).distinct()
    chosen = ledger.session.exec(names.order_by(col(HostInstance.host)).limit(limit)).all()
    if not chosen:
        return ()
    query = select(HostInstance).where(HostInstance.host >= chosen[0], HostInstance.host <= chosen[-1])
    return ledger.session.exec(query.order_by(col(HostInstance.host), col(HostInstance.instance))).all()


def coverage(ledger: Ledger, now: datetime, seq: int | None = None) -> Coverage:
    """How far an event has come, by default the last one."""
    last = ledger.last_seq()
    wanted = last if seq is None else seq
    lagging, silent, hosts = [], [], 0
    rows = ledger.session.exec(select(HostInstance).order_by(col(HostInstance.host)))
    for host, instances in groupby(rows, lambda row: row.host):
        states = {state_of(row, wanted, last, now) for row in instances}
        if states == {"silent"}:
            silent.append(host)
        else:
            hosts += 1
            if states - {"silent", "current"}:
                lagging.append(host)
    return Coverage(
        seq=wanted, hosts=hosts, enforcing=hosts - len(lagging), lagging=tuple(lagging[:SHOWN]),
        silent=tuple(silent[:SHOWN]), lagging_count=len(lagging), silent_count=len(silent),
    )  # fmt: skip


def running(ledger: Ledger, digests: Collection[str], now: datetime) -> list[RunningOn]:
    """Which hosts run these artifacts, by host and artifact."""
    rows = [row for part in in_parts(sorted(digests)) for row in _running(ledger, part)]
    rows.sort(key=lambda row: (row[0].host, row[0].digest))
    silent_before = Time.of(now - SILENT)
    found = []
    for (host, digest), group in groupby(rows, lambda row: (row[0].host, row[0].digest)):
        members = list(group)
        first = members[0][0]
        found.append(
            RunningOn(
                host=host, digest=digest, plugin_id=first.plugin_id, version=first.version,
                since=min(row.since for row, _ in members), instances=len(members),
                stopped=sum(row.state == "stopped" for row, _ in members),
                silent=all(heard < silent_before for _, heard in members),
            )
        )  # fmt: skip
    return found


def _running(ledger: Ledger, digests: Sequence[str]) -> Sequence[tuple[HostPlugin, str]]:
    query = select(HostPlugin, HostInstance.heard).where(
        HostPlugin.host == HostInstance.host,
        HostPlugin.instance == HostInstance.instance,
        col(HostPlugin.digest).in_(digests),
    )
    return ledger.session.exec(query).all()


def unknown(ledger: Ledger) -> int:
    """How many artifacts are run that the registry does not know: what they bring nobody can tell."""
    admitted = select(Artifact.digest).where(Artifact.digest == HostPlugin.digest)
    query = select(func.count(func.distinct(HostPlugin.digest))).where(~admitted.exists())
    return ledger.session.exec(query).one()
