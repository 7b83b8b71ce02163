"""Deployments to test with: real ones, made in a temporary directory, with the clock as an argument."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crl_server.layout import Deployment
from crl_server.revocation.revoking import Order
from crl_server.service import Authority
from crl_server.trust.initialise import Plan, initialise
from tests.crl_server.engines import databases
from verifier.formats.enrolment import ServerUrl
from verifier.formats.policy import Profile
from verifier.formats.text import Digest, Name, Time, Version

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ACTOR = "local:test"
SERVER = "http://127.0.0.1:8600"


def plan(profile: Profile = "demo", server: str = SERVER, database: str | None = None) -> Plan:
    """What kind of deployment the tests want; on the engine of the test, unless a database is named."""
    record = Deployment(v=1, deployment=Name("acme"), server=ServerUrl(server), created=Time.of(NOW))
    return Plan(record, profile, Version("1.0"), databases.new() if database is None else database)


def made(
    directory: Path,
    profile: Profile = "demo",
    now: datetime = NOW,
    server: str = SERVER,
    database: str | None = None,
) -> Authority:
    """A new deployment, opened."""
    initialise(directory, plan(profile, server, database), ACTOR, now)
    return Authority(directory)


def digest(label: object) -> Digest:
    """A digest that differs in its first bytes."""
    return Digest("sha256:" + hashlib.sha256(str(label).encode()).hexdigest())


def revoke(authority: Authority, *labels: object, now: datetime = NOW) -> int:
    """Revoke one digest per label in one order; returns the event's number."""
    return authority.revoke(Order(tuple(digest(label) for label in labels), "malicious"), ACTOR, now).seq
