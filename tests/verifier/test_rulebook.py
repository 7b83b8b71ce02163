"""Many standing rules: an artifact meets those that may match it, and each of them says what it says by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.test_standing_rules import rules, subject
from verifier.errors import Refused
from verifier.formats.revocations import Rule
from verifier.revocation import standing_rules
from verifier.revocation.rulebook import Rulebook, check_rules
from verifier.revocation.standing_rules import ComponentMatch, Match, Part, Subject, judge

NAMES = ("left-pad", "left_pad", "Left.Pad", "right-pad", "scope/left-pad", "left-pad/right-pad", "%6ceft-pad", "")
purls = st.builds("pkg:{}/{}".format, st.sampled_from(["pypi", "PyPI", "npm", "generic"]), st.sampled_from(NAMES))
versions = st.sampled_from(["", "1.0", "2.0", "unknown"])
parts = st.builds(
    lambda purl, at, name, version: Part(purl=purl and f"{purl}{at}", name=name, version=version),
    purls | st.just("") | st.just("no purl"), st.sampled_from(["", "@1.0"]), st.sampled_from(NAMES), versions,
)  # fmt: skip
matches = st.one_of(
    st.fixed_dictionaries({"kind": st.just("component"), "match": st.fixed_dictionaries(
        {"purl": purls}, optional={"range": st.sampled_from(["<2", ">=1"])}
    )}),
    st.fixed_dictionaries({"kind": st.just("plugin"), "match": st.fixed_dictionaries(
        {"id": st.sampled_from(["sample_plugin", "another"])}
    )}),
    st.just({"kind": "unknown", "match": {}}),
)  # fmt: skip


@given(st.lists(matches, max_size=6), st.lists(parts, max_size=4))
def test_a_book_says_what_its_rules_say_one_by_one(made: list[dict[str, Any]], brought: list[Part]) -> None:
    known = subject(parts=[{"purl": one.purl, "name": one.name, "version": one.version} for one in brought])
    listed = rules(*made).rules
    one_by_one = [(rule, judge(rule, known)) for rule in listed]
    assert Rulebook(listed).denying(known) == [(rule, verdict) for rule, verdict in one_by_one if verdict != "clear"]


def test_rules_of_a_new_list_are_not_taken_for_those_of_the_one_before() -> None:
    harmless, evil = ({"kind": "plugin", "match": {"id": name}} for name in ("harmless", subject().plugin_id))
    before = rules(harmless)
    for listed, is_denied in ((before, False), (rules(evil), True), (before, False), (rules(evil), True)):
        if not is_denied:
            check_rules(listed, subject())
            continue
        with pytest.raises(Refused) as caught:
            check_rules(listed, subject())
        assert caught.value.code == "rule.matched"


def test_a_list_of_thousands_of_packages_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = rules(*({"kind": "component", "match": {"purl": f"pkg:pypi/evil-{n}"}} for n in range(10_000)))
    known = subject(parts=[{"name": f"good-{n}", "version": "1.0"} for n in range(2_000)])
    asked: list[object] = []
    read, held = standing_rules.parse_match, ComponentMatch.matches

    def parse_match(rule: Rule) -> Match:
        asked.append(rule)
        return read(rule)

    def matches(match: ComponentMatch, artifact: Subject) -> bool:
        asked.append(match)
        return held(match, artifact)

    monkeypatch.setattr(standing_rules, "parse_match", parse_match)
    monkeypatch.setattr(ComponentMatch, "matches", matches)
    for _ in range(3):
        check_rules(listed, known)
    assert len(asked) == 10_000
    with pytest.raises(Refused) as caught:
        check_rules(listed, subject(parts=[{"name": "Evil_7", "version": "1.0"}]))
    assert caught.value.found.startswith("R8: ")
    assert len(asked) == 10_001
