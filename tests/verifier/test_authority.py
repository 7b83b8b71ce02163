"""Who vouches for what: tiers, roles and certifications against one another, exhaustively where that is possible."""

from __future__ import annotations

import itertools

import pytest

from tests.simulator import NOW, Claims, Simulator
from verifier.errors import Refused
from verifier.formats.policy import TIERS
from verifier.formats.statement import CERTIFICATION_FIELD

ROLES = {"manifest": "owners", "sbom": "builders", "provenance": "builders", "certification": "certifiers"}


def outcome(sim: Simulator, claims: Claims) -> str:
    """The tier, or the code of the refusal."""
    try:
        return sim.verify(sim.wheel(), claims.sign()).tier
    except Refused as error:
        return error.code


@pytest.mark.parametrize(("claimed", "allowed"), list(itertools.product(TIERS, TIERS)))
def test_a_certifier_certifies_up_to_the_highest_tier_and_no_further(claimed: str, allowed: str) -> None:
    sim = Simulator()
    sim.policy("certifiers.certifier.max_tier", allowed)
    claims = sim.claims(sim.wheel())
    claims["certification"].predicate[CERTIFICATION_FIELD]["tier"] = claimed
    good = TIERS.index(claimed) <= TIERS.index(allowed)
    assert outcome(sim, claims) == (claimed if good else "certification.tier")


@pytest.mark.parametrize("tier", ["", "Core", "core ", "CORE", "c\u043ere", "admin", "x" * 1000])
def test_a_tier_is_spelt_one_way(tier: str) -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    claims["certification"].predicate[CERTIFICATION_FIELD]["tier"] = tier
    assert outcome(sim, claims) in ("certification.tier", "format.schema")


@pytest.mark.parametrize("missing", TIERS)
@pytest.mark.parametrize("claimed", [*TIERS, None])
def test_a_tier_that_the_policy_lacks_is_nobodys(missing: str, claimed: str | None) -> None:
    sim = Simulator()
    sim.policy(f"tiers.{missing}", None)
    claims = sim.claims(sim.wheel())
    if claimed is None:
        del claims["certification"]
        assert outcome(sim, claims) == ("certification.missing" if missing == "untrusted" else "untrusted")
    else:
        claims["certification"].predicate[CERTIFICATION_FIELD]["tier"] = claimed
        assert outcome(sim, claims) == ("certification.tier" if missing == claimed else claimed)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ROLES, 2)))
@pytest.mark.parametrize("disjoint", [True, False])
def test_no_principal_acts_in_two_roles_where_they_are_disjoint(first: str, second: str, disjoint: bool) -> None:
    sim = Simulator()
    person = sim.people["other-builder"]
    sim.rules["certifiers"][person.name] = {"max_tier": "core"}
    for title in (first, second):
        sim.rules["plugins"]["sample_plugin"][ROLES[title]].append(person.name)
    sim.policy("tiers.core.disjoint", disjoint)
    claims = sim.claims(sim.wheel())
    for title in (first, second):
        claims[title].signer = person
        if title == "manifest":
            claims[title].predicate["owner"] = person.name
    claims.pin()
    one_role = ROLES[first] == ROLES[second]
    assert outcome(sim, claims) == ("core" if one_role or not disjoint else "roles.not-disjoint")


@pytest.mark.parametrize("title", ["manifest", "sbom", "provenance"])
def test_a_certification_names_each_statement_that_counts(title: str) -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    named = claims["certification"].predicate["inputAttestations"]
    named[:] = [entry for entry in named if entry["uri"] != claims[title].predicate_type]
    assert outcome(sim, claims) == "certification.covenant"


def test_a_certification_may_rest_on_evidence_that_is_not_weighed_here() -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    audit = {"uri": "https://in-toto.io/attestation/link/v0.3", "digest": {"sha256": "0" * 64}}
    claims["certification"].predicate["inputAttestations"].append(audit)
    assert outcome(sim, claims) == "core"


def test_a_certification_counts_no_longer_when_what_it_rests_on_does_not() -> None:
    sim = Simulator()
    sim.policy("plugins.sample_plugin.source", None)
    sim.policy("tiers.core.require", ["certification"])
    claims = sim.claims(sim.wheel())
    assert outcome(sim, claims) == "core"
    claims["provenance"].signer = sim.people["stranger"]  # the payload is the one that was certified
    assert outcome(sim, claims) == "certification.covenant"


@pytest.mark.parametrize("verdict", ["", "FAILED", "passed", "PASSED ", "PASSED\u200b"])
def test_a_verdict_is_passed_or_no_verdict(verdict: str) -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    claims["certification"].predicate["verificationResult"] = verdict
    assert outcome(sim, claims) in ("certification.failed", "format.schema")


def test_provenance_is_judged_wherever_it_counts_though_no_tier_asks() -> None:
    sim = Simulator()
    sim.policy("plugins.sample_plugin.source", None)
    sim.policy("tiers.untrusted.require", [])
    claims = sim.claims(sim.wheel())
    del claims["certification"]
    claims["provenance"].predicate["runDetails"]["builder"]["id"] = "https://host.example/laptop"
    assert outcome(sim, claims) == "provenance.builder"
    del claims["provenance"]
    assert outcome(sim, claims) == "untrusted"


def test_a_policy_that_names_a_source_demands_provenance() -> None:
    sim = Simulator()
    sim.policy("tiers.untrusted.require", [])
    claims = sim.claims(sim.wheel())
    del claims["certification"], claims["provenance"]
    assert outcome(sim, claims) == "set.statement-missing"


def test_an_sdist_is_a_source_too() -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    source = claims["manifest"].predicate["source"]
    claims["manifest"].predicate["source"] = {"repository": source["repository"], "sdist": "sha256:" + "5" * 64}
    inputs = claims["provenance"].predicate["buildDefinition"]["resolvedDependencies"]
    inputs[0]["digest"] = {"sha256": "5" * 64}
    claims.pin()
    assert outcome(sim, claims) == "core"
    inputs[0]["digest"] = {"sha256": "6" * 64}
    claims.pin()
    assert outcome(sim, claims) == "provenance.source"


def test_a_withdrawal_follows_the_statement_and_not_its_signature() -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    sim.policy("withdrawn", [claims["certification"].digest], NOW)
    assert claims["certification"].sign() != claims["certification"].sign()  # ECDSA signs differently each time
    assert outcome(sim, claims) == "certification.withdrawn"
    claims["certification"].predicate["timeVerified"] = "2026-03-02T00:00:00Z"
    assert outcome(sim, claims) == "core"
