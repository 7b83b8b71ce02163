"""What ends by itself and somebody should see coming: certifications, what owners declared, API tokens.

Unlike trust and list (:mod:`crl_server.operating.expiries`) nothing of the service stands or falls with one of these,
and there may be very many: whoever watches is told how many there are; names are for those who are known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, get_args

from sqlmodel import col, select

from crl_server.plugins import registry
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact, ListEntry, Token
from verifier.errors import FormatError
from verifier.formats.bundle import parse_set
from verifier.formats.manifest import parse_signed_manifest
from verifier.formats.statement import CERTIFICATION, parse_certification, parse_statement
from verifier.formats.text import Digest, Time

SOON = timedelta(days=30)
"""How long before its end something is told of; a token that was made for less than thrice that, in its last third."""
OVER = timedelta(days=30)
"""How long after its end something is told of: what nobody has renewed by then, nobody wants."""
MAX_LOOKED_AT = 500
"""How many artifacts are looked at, the last admitted first."""
MAX_TOKENS = 1_000
"""How many tokens are looked at, the first to end first."""
MAX_REMEMBERED = 5000
"""How many artifacts' ends are remembered."""
MAX_READ = 100
"""How many attestation sets one look reads; what is left is read by the next one."""

Kind = Literal["certification", "manifest", "token"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS: Mapping[Kind, str] = {
    "certification": "certification", "manifest": "end that an owner declared", "token": "API token",
}  # fmt: skip
PLURALS: Mapping[Kind, str] = {
    "certification": "certifications", "manifest": "releases by their owners' own word", "token": "API tokens",
}  # fmt: skip


class Ending(NamedTuple):
    """Something that ends.

    Attributes:
        kind: what it is.
        of: the artifact's digest, or the token's name.
        title: how people call that.
        ends: when.
    """

    kind: Kind
    of: str
    title: str
    ends: Time

    @property
    def name(self) -> str:
        """What tells it from everything else that ends."""
        return f"{self.kind}:{self.of}"

    @property
    def what(self) -> str:
        """What it is, for people."""
        return f"the {WORDS[self.kind]} {'' if self.kind == 'token' else 'of '}{self.title}"


class Endings:
    """Knows what ends when; an attestation set is read once for as long as it stays the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[tuple[Kind, Time], ...]] = {}

    def soon(self, ledger: Ledger, now: datetime) -> Sequence[Ending]:
        """What ends soon or has ended lately, the first to end first; what was revoked or taken back is left out."""
        found = [*self._artifacts(ledger), *_tokens(ledger, now)]
        return sorted((e for e in found if -OVER < e.ends.instant - now < SOON), key=lambda e: (e.ends, e.name))

    def _artifacts(self, ledger: Ledger) -> Iterator[Ending]:
        listed = select(ListEntry.digest).where(col(ListEntry.removed).is_(None))
        query = select(Artifact.digest, Artifact.plugin_id, Artifact.version, Artifact.admitted_at)
        query = query.where(col(Artifact.digest).not_in(listed)).order_by(col(Artifact.admitted_at).desc())
        reads = 0
        for digest, plugin_id, version, at in ledger.session.exec(query.limit(MAX_LOOKED_AT)).all():
            if (digest, at) not in self._known:
                if reads == MAX_READ:
                    continue
                reads += 1
            for kind, ends in self._ends(ledger, digest, at):
                yield Ending(kind, digest, f"{plugin_id} {version}", ends)

    def _ends(self, ledger: Ledger, digest: str, at: str) -> tuple[tuple[Kind, Time], ...]:
        known = self._known.get((digest, at))
        if known is None:
            row = registry.artifact(ledger, Digest(digest))
            known = () if row is None else tuple(_read(row))
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[digest, at] = known
        return known


def summary(endings: Sequence[Ending]) -> tuple[str, ...]:
    """What anybody may be told of them: how many there are of each kind, and when the first one ends."""
    found = ((kind, [ending.ends for ending in endings if ending.kind == kind]) for kind in KINDS)
    return tuple(f"{PLURALS[kind]} end soon or have ended: {len(e)}, the first at {e[0]}" for kind, e in found if e)


def _tokens(ledger: Ledger, now: datetime) -> Iterator[Ending]:
    """Tokens in the last third of their life."""
    query = select(Token).where(
        col(Token.revoked).is_(None), Token.expires > Time.of(now - OVER), Token.expires < Time.of(now + SOON)
    )
    for row in ledger.session.exec(query.order_by(col(Token.expires)).limit(MAX_TOKENS)).all():
        ends = Time(row.expires)
        if ends.instant - now < (ends.instant - Time(row.created).instant) / 3:
            yield Ending("token", row.name, f"{row.name} ({row.roles.replace(' ', ', ')})", ends)


def _read(row: Artifact) -> Iterator[tuple[Kind, Time]]:
    declared = parse_signed_manifest(row.manifest).expires_at
    if declared is not None:
        yield "manifest", declared
    for bundle in parse_set(row.attestations):
        statement = parse_statement(bundle.envelope.unverified_payload)
        if statement.predicate_type == CERTIFICATION:
            try:
                yield "certification", parse_certification(statement.predicate).terms.expires
            except FormatError:
                continue  # it did not count at admission either
