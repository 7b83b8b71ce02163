"""Many rules, held against everything that was admitted in one pass. What a rule matches is the verifier's to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlmodel import col, select

from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact
from verifier.formats.revocations import Rule
from verifier.formats.strict_json import parse
from verifier.formats.text import Digest
from verifier.revocation.standing_rules import Subject, judge, package_names, package_of

MAX_SUBJECT = 64 * 1024 * 1024
"""Size cap of what the registry keeps of one artifact for rules, in bytes."""
AT_ONCE = 200
"""How many artifacts are in memory at a time."""


class Rules:
    """Rules by the package that they are about, so that an artifact meets only those that may match it."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by_package: dict[str, list[Rule]] = {}
        self._others: list[Rule] = []
        for rule in rules:
            package = package_of(rule)
            (self._others if package is None else self._by_package.setdefault(package, [])).append(rule)

    def matching(self, subject: Subject) -> list[str]:
        """The ids of the rules that deny an artifact."""
        some = [*self._others]
        if self._by_package:
            for name in package_names(subject):
                some += self._by_package.get(name, ())
        return [rule.id for rule in some if judge(rule, subject) != "clear"]


def reached(ledger: Ledger, rules: Sequence[Rule]) -> dict[str, list[Digest]]:
    """By the id of each rule that reaches any: the admitted artifacts that it matches, by digest."""
    known, found = Rules(rules), dict[str, list[Digest]]()
    for digest, data in _subjects(ledger) if rules else ():
        # What an earlier release admitted is made up for at a start (backfill); hosts hold it against the rule anyway.
        if data is not None:
            for rule in known.matching(parse(data, Subject, limit=MAX_SUBJECT, what="stored subject")):
                found.setdefault(rule, []).append(Digest(digest))
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
