"""How coverage was: a figure now and then, so that people see it climb after a revocation, and sink when hosts fail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import col, delete, select

from crl_server.fleet import hosts
from crl_server.fleet.hosts import Coverage
from crl_server.storage.ledger import Ledger
from crl_server.storage.store import Store
from crl_server.storage.tables import CoveragePoint
from verifier.formats.text import Time

UNCHANGED = timedelta(minutes=15)
"""After how long a figure is kept that is the one before."""
KEPT = timedelta(days=30)
"""How long figures are kept."""
MAX_POINTS = 5000
"""How many figures are looked at; one a minute would be three days of them."""


def note(store: Store, now: datetime) -> None:
    """Keep how far the newest event has come, if that has changed or some time has passed; and drop what is old.

    Raises:
        Unreachable: ``io.failed``.
    """
    with store.read() as ledger:
        found = _due(ledger, now)
    if found is None:
        return
    point = CoveragePoint(
        at=Time.of(now), seq=found.seq, hosts=found.hosts, enforcing=found.enforcing, silent=found.silent_count
    )
    with store.write() as ledger:
        ledger.session.add(point)
        ledger.session.exec(delete(CoveragePoint).where(col(CoveragePoint.at) < Time.of(now - KEPT)))


def since(ledger: Ledger, moment: datetime) -> Sequence[CoveragePoint]:
    """The figures since a moment, the oldest first; the newest of them when there are too many."""
    query = select(CoveragePoint).where(col(CoveragePoint.at) >= Time.of(moment)).order_by(col(CoveragePoint.id).desc())
    return ledger.session.exec(query.limit(MAX_POINTS)).all()[::-1]


def _due(ledger: Ledger, now: datetime) -> Coverage | None:
    found = hosts.coverage(ledger, now)
    last = ledger.session.exec(select(CoveragePoint).order_by(col(CoveragePoint.id).desc()).limit(1)).first()
    if last is None:
        return found if found.hosts or found.silent_count else None
    same = (last.seq, last.hosts, last.enforcing, last.silent) == (
        found.seq, found.hosts, found.enforcing, found.silent_count,
    )  # fmt: skip
    return None if same and now - Time(last.at).instant < UNCHANGED else found
