"""All standing rules in force, held against one artifact. What a rule matches is :mod:`.standing_rules`' to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

from verifier.errors import Refused
from verifier.formats.revocations import Rule, Rules
from verifier.revocation.standing_rules import (
    Match,
    Subject,
    Verdict,
    match_of,
    package_names,
    package_of,
    verdict_of,
)

_Read = tuple[int, Rule, Match | None]


class Rulebook:
    """Standing rules, each read once and found by the package that it is about, so that an artifact meets only those
    that may match it: feeds of what is known to be malicious name thousands of packages.

    Args:
        rules: in the order in which a refusal is to name one.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._others: list[_Read] = []
        self._by_package: dict[str, list[_Read]] = {}
        for number, rule in enumerate(rules):
            match = match_of(rule)
            package = package_of(match)
            place = self._others if package is None else self._by_package.setdefault(package, [])
            place.append((number, rule, match))

    def denying(self, subject: Subject) -> list[tuple[Rule, Verdict]]:
        """The rules that deny an artifact, in their order, and what each says of it."""
        met = [*self._others]
        for name in package_names(subject) if self._by_package else ():
            met += self._by_package.get(name, ())
        found = [(number, rule, verdict_of(rule, match, subject)) for number, rule, match in met]
        return [(rule, verdict) for _, rule, verdict in sorted(found, key=itemgetter(0)) if verdict != "clear"]


def check_rules(rules: Rules | Sequence[Rule], subject: Subject) -> None:
    """Step 11: no standing rule denies the artifact.

    Raises:
        Refused: ``rule.matched``; ``rule.unsupported`` for one that this release cannot evaluate.
    """
    for rule, verdict in _book_of(rules).denying(subject):
        if verdict == "matched":
            raise Refused(
                "rule.matched",
                f"a standing rule revokes this plugin ({rule.kind}: {rule.reason})",
                found=f"{rule.id}: {_words(rule)}",
                expected="a release that the rule does not match",
            )
        raise Refused(
            "rule.unsupported",
            "a standing revocation rule is in force that this release cannot evaluate",
            found=f"{rule.id} ({rule.kind!a}: {rule.reason})",
        )


def _book_of(rules: Rules | Sequence[Rule]) -> Rulebook:
    """The book of a list's rules, which is kept: a host asks with each plugin, and has one list."""
    global _LAST  # noqa: PLW0603 - one for the process, and no more: a list in force keeps its rules as they are
    if not isinstance(rules, Rules):
        return Rulebook(rules)
    known = _LAST
    if known is None or known[0] is not rules:
        known = _LAST = (rules, Rulebook(rules.rules))
    return known[1]


_LAST: tuple[Rules, Rulebook] | None = None


def _words(rule: Rule) -> str:
    return ", ".join(f"{name} {str(value)[:200]!a}" for name, value in sorted(rule.match.items()))
