"""Many rules, held against everything that was admitted in one pass. What a rule matches is the verifier's to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlmodel import col, select

from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact
from verifier.formats.revocations import Rule
from verifier.formats.strict_json import parse
from verifier.formats.text import Digest
from verifier.revocation.rulebook import Rulebook
from verifier.revocation.standing_rules import Subject

MAX_SUBJECT = 64 * 1024 * 1024
"""Size cap of what the registry keeps of one artifact for rules, in bytes."""
AT_ONCE = 200
"""How many artifacts are in memory at a time."""


def reached(ledger: Ledger, rules: Sequence[Rule]) -> dict[str, list[Digest]]:
    """By the id of each rule that reaches any: the admitted artifacts that it matches, by digest."""
    known, found = Rulebook(rules), dict[str, list[Digest]]()
    for digest, data in _subjects(ledger) if rules else ():
        # What an earlier release admitted is made up for at a start (backfill); hosts hold it against the rule anyway.
        if data is not None:
            for rule, _ in known.denying(parse(data, Subject, limit=MAX_SUBJECT, what="stored subject")):
                found.setdefault(rule.id, []).append(Digest(digest))
    return found


def _subjects(ledger: Ledger) -> Iterator[tuple[str, bytes | None]]:
    after = ""
    while True:
        query = select(Artifact.digest, Artifact.subject).where(col(Artifact.digest) > after)
        page = ledger.session.exec(query.order_by(col(Artifact.digest)).limit(AT_ONCE)).all()
        yield from page
        if len(page) < AT_ONCE:
            return
        after = page[-1][0]
