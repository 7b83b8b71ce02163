"""What of the registry expires soon: what its owner declared, and what its certifier vouched for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlmodel import col, select

from crl_server.plugins import registry
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact, ListEntry
from verifier.errors import FormatError
from verifier.formats.bundle import parse_set
from verifier.formats.manifest import parse_signed_manifest
from verifier.formats.statement import CERTIFICATION, parse_certification, parse_statement
from verifier.formats.text import Digest, Time

SOON = timedelta(days=30)
MAX_LOOKED_AT = 500
"""How many artifacts are looked at, the last admitted first."""
MAX_REMEMBERED = 5000
"""How many artifacts' ends are remembered."""


class Ending(NamedTuple):
    """Something that ends, and of which artifact."""

    what: str
    ends: Time
    digest: str
    plugin_id: str
    version: str


class Endings:
    """Knows what ends when; an attestation set is read once for as long as it stays the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[tuple[str, Time], ...]] = {}

    def soon(self, ledger: Ledger, now: datetime) -> Sequence[Ending]:
        """What has ended or ends soon, of artifacts that are not revoked, the first to end first."""
        listed = select(ListEntry.digest).where(col(ListEntry.removed).is_(None))
        query = select(Artifact.digest, Artifact.plugin_id, Artifact.version, Artifact.admitted_at)
        query = query.where(col(Artifact.digest).not_in(listed)).order_by(col(Artifact.admitted_at).desc())
        found = [
            Ending(what, ends, digest, plugin_id, version)
            for digest, plugin_id, version, at in ledger.session.exec(query.limit(MAX_LOOKED_AT)).all()
            for what, ends in self._ends(ledger, digest, at)
            if ends.instant - now < SOON
        ]
        return sorted(found, key=lambda ending: ending.ends)

    def _ends(self, ledger: Ledger, digest: str, at: str) -> tuple[tuple[str, Time], ...]:
        known = self._known.get((digest, at))
        if known is None:
            row = registry.artifact(ledger, Digest(digest))
            known = () if row is None else tuple(_read(row))
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[digest, at] = known
        return known


def _read(row: Artifact) -> Iterator[tuple[str, Time]]:
    declared = parse_signed_manifest(row.manifest).expires_at
    if declared is not None:
        yield "what its owner declared", declared
    for bundle in parse_set(row.attestations):
        statement = parse_statement(bundle.envelope.unverified_payload)
        if statement.predicate_type == CERTIFICATION:
            try:
                yield "its certification", parse_certification(statement.predicate).terms.expires
            except FormatError:
                continue  # it did not count at admission either
