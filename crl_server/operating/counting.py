"""How much there is of what: numbers for the metrics, in one view of the database."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlmodel import func, select

from crl_server.fleet import hosts
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact, Revocation


class Counts(NamedTuple):
    """Numbers of a deployment: artifacts, reasons for revocations, audit entries, the last event, hosts by state."""

    artifacts: int
    revocations: int
    audit: int
    committed: int
    hosts: int
    lagging: int
    silent: int


def counts(ledger: Ledger, now: datetime) -> Counts:
    """Count.

    Args:
        ledger: an open transaction.
        now: the moment (aware, UTC).
    """
    heard = hosts.coverage(ledger, now)
    return Counts(
        artifacts=ledger.session.exec(select(func.count()).select_from(Artifact)).one(),
        revocations=ledger.session.exec(select(func.count()).select_from(Revocation)).one(),
        audit=ledger.audit_state().count,
        committed=ledger.last_seq(),
        hosts=heard.hosts,
        lagging=heard.lagging_count,
        silent=heard.silent_count,
    )
