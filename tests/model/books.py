"""What a deployment knows and decides, as a value and pure functions: the whole life of a revocation without any I/O.

The model that the real service is held against, step by step. Artifacts are numbers, signers are names, and a standing
rule denies everything of a signer but its exceptions. Each function takes books and returns new ones, or refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Refusal(Exception):
    """The model says no."""


class Rule(NamedTuple):
    """Everything of ``signer`` is denied, but ``excepted``."""

    signer: str
    excepted: frozenset[int] = frozenset()

    def denies(self, artifact: int, signer: str | None) -> bool:
        return signer == self.signer and artifact not in self.excepted


class Request(NamedTuple):
    """Somebody wants an artifact off the list, a rule gone, or (with both) the artifact excepted from that rule alone.

    ``reasons`` are those that it withdraws: the ones that were known when it was asked for, and no later ones.
    """

    artifact: int | None
    rule: int | None
    reasons: frozenset[str]
    by: str
    approved_by: str | None = None


class Plan(NamedTuple):
    """A checkpoint that awaits its signatures: what it takes in, takes back, and carries out."""

    through: int
    taken_back: frozenset[int]
    rules: Mapping[int, Rule]
    requests: frozenset[int]
    cut: bool


@dataclass(frozen=True)
class Books:
    """Everything that is committed.

    Attributes:
        artifacts: who signed what was admitted.
        listed: the number of the event that put an artifact on the list.
        reasons: why each artifact is on the list: ``order:<n>`` or ``rule:<n>``.
        rules: the standing rules in force, by number.
        requests: reinstatements that were asked for and are not carried out.
        seq, orders, last_rule, last_request: the numbers given last.
        plan: the checkpoint that was prepared last, until it is published.
    """

    artifacts: Mapping[int, str] = field(default_factory=dict)
    listed: Mapping[int, int] = field(default_factory=dict)
    reasons: Mapping[int, frozenset[str]] = field(default_factory=dict)
    rules: Mapping[int, Rule] = field(default_factory=dict)
    requests: Mapping[int, Request] = field(default_factory=dict)
    seq: int = 0
    orders: int = 0
    last_rule: int = 0
    last_request: int = 0
    plan: Plan | None = None

    def denied(self, artifact: int, signer: str | None = None) -> bool:
        """Whether nobody may load it."""
        signer = signer or self.artifacts.get(artifact)
        return artifact in self.listed or any(rule.denies(artifact, signer) for rule in self.rules.values())


def admit(books: Books, artifact: int, signer: str) -> Books:
    """Take an artifact into the registry."""
    if books.artifacts.get(artifact, signer) != signer or books.denied(artifact, signer):
        raise Refusal
    return replace(books, artifacts={**books.artifacts, artifact: signer})


def revoke(books: Books, artifacts: frozenset[int]) -> Books:
    """Put artifacts on the list, admitted or not."""
    books = replace(books, orders=books.orders + 1)
    return _list(books, artifacts, f"order:{books.orders}", also_without_news=False)


def add_rule(books: Books, rule: Rule) -> Books:
    """Put a rule in force; what it matches in the registry goes onto the list."""
    number = books.last_rule + 1
    books = replace(books, last_rule=number, rules={**books.rules, number: rule})
    matched = frozenset(a for a, signer in books.artifacts.items() if rule.denies(a, signer))
    return _list(books, matched, f"rule:{number}", also_without_news=True)


def request(books: Books, by: str, *, artifact: int | None = None, rule: int | None = None) -> Books:
    """Ask for an artifact or a rule to be taken back."""
    if rule is not None:
        if rule not in books.rules:
            raise Refusal
        reasons = frozenset({f"rule:{rule}"})
    else:
        if artifact is None or artifact not in books.listed:
            raise Refusal
        reasons = books.reasons[artifact]
    number = books.last_request + 1
    new = Request(artifact, rule, reasons, by)
    return replace(books, last_request=number, requests={**books.requests, number: new})


def approve(books: Books, number: int, by: str) -> Books:
    """Agree to a request of somebody else."""
    asked = books.requests.get(number)
    if asked is None or asked.by == by or asked.approved_by:
        raise Refusal
    return replace(books, requests={**books.requests, number: asked._replace(approved_by=by)})


def prepare(books: Books, *, cut: bool = False) -> Books:
    """Lay down what the next checkpoint carries out; another one that was prepared is forgotten."""
    numbers = frozenset(number for number, asked in books.requests.items() if asked.approved_by)
    after = _carry_out(books, numbers)
    taken_back = frozenset(artifact for artifact, reasons in after.reasons.items() if not reasons)
    return replace(books, plan=Plan(books.seq, taken_back, after.rules, numbers, cut))


def publish(books: Books) -> Books:
    """Carry the plan out: both offline keys have signed. What was revoked once more meanwhile goes back on the list."""
    plan = books.plan
    if plan is None:
        raise Refusal
    books = _carry_out(books, plan.requests)
    again = frozenset(artifact for artifact in plan.taken_back if books.reasons[artifact])
    listed = {artifact: seq for artifact, seq in books.listed.items() if artifact not in plan.taken_back}
    reasons = {artifact: why for artifact, why in books.reasons.items() if artifact in listed or artifact in again}
    requests = {number: asked for number, asked in books.requests.items() if number not in plan.requests}
    seq = books.seq + bool(again)
    listed |= dict.fromkeys(again, seq)
    return replace(books, listed=listed, reasons=reasons, requests=requests, seq=seq, plan=None)


def _carry_out(books: Books, numbers: frozenset[int]) -> Books:
    rules, reasons = dict(books.rules), dict(books.reasons)
    for asked in (books.requests[number] for number in numbers):
        if asked.artifact is None:
            rules.pop(asked.rule or 0, None)
            reasons = {artifact: why - asked.reasons for artifact, why in reasons.items()}
            continue
        if asked.artifact in reasons:
            reasons[asked.artifact] -= asked.reasons
        for number in (number for number in rules if f"rule:{number}" in asked.reasons):
            rules[number] = rules[number]._replace(excepted=rules[number].excepted | {asked.artifact})
    return replace(books, rules=rules, reasons=reasons)


def _list(books: Books, artifacts: frozenset[int], why: str, *, also_without_news: bool) -> Books:
    new = artifacts - books.listed.keys()
    seq = books.seq + bool(new or also_without_news)
    reasons = {**books.reasons, **{a: books.reasons.get(a, frozenset()) | {why} for a in artifacts}}
    return replace(books, seq=seq, listed={**books.listed, **dict.fromkeys(new, seq)}, reasons=reasons)
