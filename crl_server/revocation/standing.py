"""Standing rules in the database: which are in force, what a new one reaches, and the transaction that adds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, func, select

from crl_server.fleet import hosts
from crl_server.fleet.hosts import RunningOn
from crl_server.lists import rules
from crl_server.lists.rules import Severity
from crl_server.plugins import registry
from crl_server.plugins.registry import Brief
from crl_server.records.audit import Act
from crl_server.revocation import reach
from crl_server.revocation.revoking import Why, check_reach
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import RULES_FLOOR, Ledger
from crl_server.storage.tables import Revocation, RuleException, StandingRule
from verifier.errors import FormatError, Refused, UsageError
from verifier.formats.revocations import MAX_RULE_COUNT, MAX_RULES, Rule, Rules, dump
from verifier.formats.strict_json import Document, dumps, loads
from verifier.formats.text import Digest, Hex, Time
from verifier.revocation.standing_rules import parse_match

MAX_MATCH = 4096
"""Size cap of a rule's match in bytes."""
MAX_EXCEPTED = 1000
"""How many artifacts a new rule may except."""
SHOWN = 1000
"""How many artifacts of a blast radius are named."""


class Reached(Document, frozen=True, kw_only=True):
    """An artifact of the registry that a rule or an order reaches."""

    digest: Digest
    plugin_id: str
    version: str
    tier: str
    listed: bool


class Radius(Document, frozen=True, kw_only=True):
    """What would be denied: how many admitted artifacts, of which plugins, and the first of them by name; and on how
    many hosts that acknowledge any of it runs, the first of them by name.
    """

    artifacts: int
    plugins: tuple[str, ...]
    reached: tuple[Reached, ...]
    hosts: int
    running: tuple[RunningOn, ...]


class RuleAdded(Document, frozen=True, kw_only=True):
    """What adding a rule led to: its id, the list's event that covers it, what is new on the list, what was there."""

    rule: str
    seq: int
    revoked: tuple[Digest, ...] = ()
    already: tuple[Digest, ...] = ()


@dataclass(frozen=True)
class NewRule:
    """A rule that is wanted.

    Raises:
        UsageError: ``usage.arguments``: a rule that hosts could not evaluate, and would deny everything by.
    """

    kind: str
    match: dict[str, Any]
    reason: str
    note: str = ""
    excepted: tuple[Digest, ...] = ()
    severity: Severity | None = None
    confirm: int = 0

    @property
    def why(self) -> Why:
        """Why, as one value."""
        return Why(self.reason, self.note, self.severity)

    def __post_init__(self) -> None:
        self.why.check()
        if len(self.excepted) > MAX_EXCEPTED:
            raise UsageError("usage.arguments", "too many exceptions", expected=f"at most {MAX_EXCEPTED}")
        try:
            if len(dumps(self.match)) > MAX_MATCH:
                raise FormatError("format.too-large", "the match is too large", expected=f"{MAX_MATCH} bytes")
            if not all(str(value).isprintable() for value in self.match.values()):
                raise FormatError(
                    "format.schema", "a match that does not show as it is written, and so matches nothing"
                )
            parse_match(self.numbered(1))
        except (FormatError, TypeError, ValueError) as error:
            raise UsageError(
                "usage.arguments", "this is no rule that hosts can evaluate", found=str(getattr(error, "what", error))
            ) from error

    def numbered(self, number: int) -> Rule:
        """The rule under its number."""
        excepted = tuple(sorted(set(self.excepted)))
        return Rule(id=f"R{number}", kind=self.kind, match=self.match, reason=self.reason, excepted=excepted)

    @property
    def fingerprint(self) -> Hex:
        """What tells this rule from another."""
        return fingerprint(b"rule", dumps(self.numbered(1)), self.note.encode(), dumps(self.severity))


# Each publication asks these: columns cost a quarter of what a row's object does.
_EXCEPTIONS = select(RuleException.rule, RuleException.digest).order_by(col(RuleException.digest))
_IN_FORCE = (
    select(StandingRule.number, StandingRule.kind, StandingRule.match, StandingRule.reason)
    .where(col(StandingRule.removed).is_(None))
    .order_by(col(StandingRule.number))
)


def in_force(ledger: Ledger) -> Rules:
    """The standing rules that are committed and not taken out of force."""
    ledger.session.flush()
    connection, excepted = ledger.session.connection(), dict[int, list[Digest]]()
    for rule, digest in connection.execute(_EXCEPTIONS):
        excepted.setdefault(rule, []).append(Digest(digest))
    return Rules(
        v=1,
        rules=tuple(
            Rule(
                id=f"R{number}",
                kind=kind,
                match=loads(match, limit=MAX_MATCH, what="stored rule"),
                reason=reason,
                excepted=tuple(excepted.get(number, ())),
            )
            for number, kind, match, reason in connection.execute(_IN_FORCE)
        ),
    )


def radius_of_rule(ledger: Ledger, wanted: NewRule, now: datetime) -> Radius:
    """What a rule would deny of what was admitted, and where that runs."""
    digests = matched(ledger, wanted.numbered(1))
    return _radius(ledger, registry.brief(ledger, digests), digests, now)


def radius_of_digests(ledger: Ledger, digests: tuple[Digest, ...], now: datetime) -> Radius:
    """Which of these digests were admitted, and where any of them runs."""
    return _radius(ledger, registry.brief(ledger, digests), digests, now)


def commit(ledger: Ledger, wanted: NewRule, through: int, actor: str, now: datetime) -> RuleAdded:
    """Put a rule in force, and everything admitted that it matches on the list, all or none.

    Args:
        ledger: an open transaction, so that nothing is admitted meanwhile.
        wanted: the rule.
        through: the last event that the checkpoint has taken into its base.
        actor: who revokes.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``list.full``, ``revocation.reach``.
    """
    number = next_number(ledger)
    rule = wanted.numbered(number)
    check_room(in_force(ledger), [rule])
    reached = matched(ledger, rule)
    new = tuple(digest for digest in reached if ledger.listed(digest) is None)
    rules.check_room(ledger.entry_count(through + 1, ledger.last_seq()), len(new))
    check_reach(ledger, new, wanted.confirm)
    seq = ledger.add_event(new, now)
    put(ledger, wanted, number, seq, reached, actor, now)
    already = tuple(digest for digest in reached if digest not in new)
    return RuleAdded(rule=rule.id, seq=seq, revoked=new, already=already)


def next_number(ledger: Ledger) -> int:
    """The number that the next rule gets: one that no host can have seen."""
    highest = ledger.session.exec(select(func.max(StandingRule.number))).one() or 0
    return max(highest, int(ledger.setting(RULES_FLOOR) or 0)) + 1


def put(
    ledger: Ledger, wanted: NewRule, number: int, seq: int, reached: Sequence[Digest], actor: str, now: datetime
) -> None:
    """Keep a rule, its exceptions, and why each artifact that it reaches is on the list; record it.

    Args:
        ledger: an open transaction, in which those artifacts are on the list.
        wanted: the rule.
        number: its number.
        seq: the event of the list that covers it.
        reached: the admitted artifacts that it matches.
        actor: who revokes.
        now: the moment (aware, UTC).
    """
    rule, at = wanted.numbered(number), Time.of(now)
    ledger.session.add(
        StandingRule(
            number=number, kind=rule.kind, match=dumps(rule.match), seq=seq, at=at, by=actor, **wanted.why._asdict()
        )
    )
    ledger.session.flush()
    ledger.session.add_all(RuleException(rule=number, digest=digest) for digest in rule.excepted)
    for digest in reached:
        ledger.add_reason(Revocation(digest=digest, at=at, by=actor, rule=number, **wanted.why._asdict()))
    detail = {"rule": rule.id, "match": rule.match, **wanted.why.detail, "seq": seq, "reached": len(reached),
              "excepted": len(rule.excepted)}  # fmt: skip
    detail |= {"confirmed": wanted.confirm} if wanted.confirm else {}
    ledger.record(Act(actor, "rule.add", f"{rule.id} {rule.kind}", detail), now)


def matched(ledger: Ledger, rule: Rule) -> Sequence[Digest]:
    """The admitted artifacts that a rule matches, by digest."""
    return reach.reached(ledger, [rule]).get(rule.id, [])


def _radius(ledger: Ledger, rows: Sequence[Brief], digests: Sequence[str], now: datetime) -> Radius:
    reached = []
    for row in rows:
        listed = ledger.listed(row.digest) is not None
        reached.append(
            Reached(digest=row.digest, plugin_id=row.plugin_id, version=row.version, tier=row.tier, listed=listed)
        )
    plugins = tuple(sorted({found.plugin_id for found in reached}))
    running = hosts.running(ledger, digests, now)
    return Radius(
        artifacts=len(reached), plugins=plugins, reached=tuple(reached[:SHOWN]),
        hosts=len({found.host for found in running}), running=tuple(running[:SHOWN]),
    )  # fmt: skip


def check_room(known: Rules, more: Sequence[Rule]) -> None:
    """Demand that further rules fit into the list.

    Raises:
        Refused: ``list.full``.
    """
    size = len(dump(known)) + sum(len(dumps(rule)) + 1 for rule in more)
    if len(known.rules) + len(more) > MAX_RULE_COUNT or size > MAX_RULES:
        raise Refused(
            "list.full", "there is no room for more standing rules", found=f"{len(known.rules)} rules",
            expected=f"at most {MAX_RULE_COUNT} rules and {MAX_RULES} bytes",
        )  # fmt: skip
