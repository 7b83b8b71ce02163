"""What nobody does but others should hear of: something is about to expire, hosts lag behind. Recorded and logged once
each.

An entry of the audit log is what webhooks are told of; what was told is remembered, also across restarts.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta

from sqlmodel import col, select

from crl_server.fleet import hosts
from crl_server.records.audit import Act
from crl_server.service import Authority
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Event
from verifier.formats.text import Time

PATIENCE = timedelta(minutes=15)
"""How long hosts have to hear of an event before somebody is told that they have not."""
SHOWN = 20
"""How many hosts are named."""

log = logging.getLogger("crl_server")


def note(authority: Authority, now: datetime) -> None:
    """Record what is new to tell.

    Raises:
        Refused: ``trust.*``.
        Unreachable: ``io.failed``.
    """
    near = [found for found in authority.expiries(now) if found.near(now)]
    with authority.store.read() as ledger:
        acts = [_expiring(found.name, found.what, found.ends, found.renewed_by) for found in near]
        acts += [_expiring(e.name, e.what, e.ends.instant, "people") for e in authority.endings(ledger, now)]
        acts += _lagging(ledger, now)
        acts = [act for act in acts if ledger.setting(act[0]) != act[1]]
    if acts:
        with authority.store.write() as ledger:
            for name, value, told in acts:
                if ledger.setting(name) != value:
                    ledger.set(name, value)
                    ledger.record(told, now)
                    if told.action == "expiry.warn":
                        log.warning("%s ends at %s", told.detail["what"], told.detail["ends"])


def _expiring(name: str, what: str, ends: datetime, renewed_by: str) -> tuple[str, str, Act]:
    known = f"warned:{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    detail = {"what": what, "ends": Time.of(ends), "renewed_by": renewed_by}
    return known, Time.of(ends), Act("server", "expiry.warn", name, detail)


def _lagging(ledger: Ledger, now: datetime) -> list[tuple[str, str, Act]]:
    query = select(Event.seq).where(Event.at <= Time.of(now - PATIENCE)).order_by(col(Event.seq).desc()).limit(1)
    seq = ledger.session.exec(query).first()
    if seq is None or ledger.setting("warned:coverage") == str(seq):
        return []
    found = hosts.coverage(ledger, now, seq)
    if not found.lagging_count:
        return []
    detail = {
        "seq": seq, "hosts": found.hosts, "enforcing": found.enforcing, "lagging": list(found.lagging[:SHOWN]),
        "lagging_count": found.lagging_count, "silent_count": found.silent_count,
    }  # fmt: skip
    return [("warned:coverage", str(seq), Act("server", "coverage.warn", f"seq {seq}", detail))]
