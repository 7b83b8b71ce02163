"""Standing rules: every vector's verdict, and what an artifact is held against."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version as Order

from tests.simulator import Simulator
from verifier.errors import Refused
from verifier.formats.manifest import SignedManifest
from verifier.formats.revocations import Rule, Rules, parse_rules
from verifier.formats.sbom import Component
from verifier.formats.strict_json import convert, dumps, plain
from verifier.formats.text import Specifier
from verifier.revocation.rulebook import check_rules
from verifier.revocation.standing_rules import KINDS, Part, Subject, judge, subject_of, within

FILE = Path(__file__).resolve().parents[1] / "vectors" / "revocation" / "standing-rules.toml"
TABLE = tomllib.loads(FILE.read_text("utf-8"))
CODES = {"matched": "rule.matched", "unsupported": "rule.unsupported"}


def subject(**changes: Any) -> Subject:
    return convert(TABLE["subject"] | changes, Subject, what="subject")


def rules(*fields: dict[str, Any]) -> Rules:
    numbered = [{"id": f"R{n}", "reason": "vulnerability"} | one for n, one in enumerate(fields, 1)]
    return parse_rules(dumps({"v": 1, "rules": numbered}))


@pytest.mark.parametrize("vector", TABLE["vector"], ids=lambda vector: str(vector["name"]))
def test_vectors(vector: dict[str, Any]) -> None:
    known = subject(**vector.get("also", {}))
    named: dict[str, Any] = {field: vector[field] for field in ("kind", "match", "except") if field in vector}
    (rule,) = rules(named).rules
    assert judge(rule, known) == vector["verdict"]
    harmless = {"kind": "plugin", "match": {"id": "harmless"}}
    if vector["verdict"] == "clear":
        check_rules(rules(harmless, named, harmless), known)
        return
    with pytest.raises(Refused) as caught:
        check_rules(rules(harmless, named, harmless), known)
    assert caught.value.code == CODES[vector["verdict"]]
    assert "R2" in caught.value.found
    assert str(caught.value).replace("\n", "").isprintable()


def test_vectors_cover_every_kind_and_verdict() -> None:
    verdicts = {(vector["kind"], vector["verdict"]) for vector in TABLE["vector"]}
    for kind in KINDS:
        assert {(kind, "matched"), (kind, "clear")} <= verdicts
    names = [vector["name"] for vector in TABLE["vector"]]
    assert len(set(names)) == len(names)
    assert all(vector["why"] for vector in TABLE["vector"])


def test_a_subject_is_read_back_as_it_was_written() -> None:
    known = subject()
    assert convert(plain(known), Subject, what="subject") == known


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.none(), max_size=3))
def test_what_nobody_can_read_denies(kind: str, match: dict[str, Any]) -> None:
    rule = Rule(id="R1", kind=kind, match=match, reason="x")
    assert judge(rule, subject()) == "unsupported" or kind in KINDS


versions = st.builds(lambda a, b, tail: f"{a}.{b}{tail}", st.integers(0, 3), st.integers(0, 3), st.sampled_from(
    ("", "rc1", ".dev2", ".post1", "+local")
))  # fmt: skip


@given(versions, versions)
def test_plain_order_decides_below_and_above(version: str, bound: str) -> None:
    public = bound.partition("+")[0]
    assert within(Specifier(f"<{public}"), version) == (Order(version) < Order(public))
    assert within(Specifier(f">{public}"), version) == (Order(version) > Order(public))


# -- what a plugin is held against -------------------------------------------------------------------------------------


def test_the_subject_of_a_verified_plugin() -> None:
    sim = Simulator()
    wheel = sim.wheel()
    facts = sim.verify(wheel, sim.claims(wheel).sign())
    known = facts.subject
    assert known.artifact == facts.artifact_digest
    assert set(known.signers) == set(facts.signers.values())
    assert set(known.keys) == {made.key for made in facts.made.values()}
    assert set(known.statements) == set(facts.statements.values())
    assert (known.builder, known.repository) == (facts.manifest.built_by, facts.manifest.source.repository)
    assert Part(name="sample-plugin", version=facts.version) in known.parts


@pytest.mark.parametrize(("provided", "verdict"), [("2.31.0", "matched"), ("2.32.0", "clear"), (None, "clear")])
def test_a_component_that_the_host_provides_has_the_hosts_version(provided: str | None, verdict: str) -> None:
    """An SBOM lists it without a version; where there is no host, nothing is known of it."""
    sim = Simulator()
    wheel = sim.wheel()
    facts = sim.verify(wheel, sim.claims(wheel).sign())
    declared = plain(facts.manifest) | {"host_provided": ["requests>=2"]}
    manifest = convert(declared, SignedManifest, what="manifest")
    known = subject_of(manifest, (), (Component("Requests", "", ""),), {"requests": provided}.get)
    (rule,) = rules({"kind": "component", "match": {"purl": "pkg:pypi/requests", "range": "<2.32"}}).rules
    assert judge(rule, known) == verdict
    undeclared = subject_of(facts.manifest, (), (Component("Requests", "", ""),), {"requests": provided}.get)
    assert judge(rule, undeclared) == "matched"
