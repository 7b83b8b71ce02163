"""How two covenants differ: each field on its own terms, none forgotten, the riskiest change first."""

from __future__ import annotations

from typing import Any

import pytest

from verifier.formats.manifest import Maturity, SignedManifest
from verifier.formats.policy import TIERS
from verifier.formats.strict_json import convert
from verifier.judging.growth import (
    COMPARED,
    MATURITIES,
    OF_A_RELEASE,
    RISKS,
    Change,
    by_risk,
    compare,
    compare_evidence,
    compare_terms,
)

BASE: dict[str, Any] = {
    "v": 1,
    "plugin_id": "p",
    "version": "1.0",
    "description": "P.",
    "owner": "o",
    "kind": "tool",
    "api_version": ">=1",
    "maturity": "beta",
    "entry_points": {"g": {"n": "p:n"}},
    "expires_at": "2027-01-01T00:00:00Z",
    "hooks": ["start"],
    "config_defaults": {"rows": 1},
    "capabilities": [{"name": "network", "rationale": "sends reports out"}],
    "allowed_egress": [{"host": "*.host.example", "schemes": ["https"], "ports": [443]}],
    "data_classes": ["free text"],
    "max_classification": "internal",
    "retention": "P1D",
    "redaction": ["names of people"],
    "secrets": ["KEY"],
    "sdk_allowlist": ["attrs>=25"],
    "allowed_paths": ["/data/in"],
    "limits": {"memory_mib": 256, "network_requests": 10},
    "hermetic_compatible": True,
    "isolation": "process",
    "host_provided": ["pandas>=2"],
    "artifact_digest": "sha256:" + "a" * 64,
    "record_digest": "sha256:" + "b" * 64,
    "sbom_digest": "sha256:" + "c" * 64,
    "built_by": "https://ci.example/builder",
    "built_at": "2026-01-31T12:00:00Z",
    "source": {"repository": "https://host.example/p.git", "commit": "0" * 40},
    "dependencies": [{"name": "attrs", "version": "25.4.0", "sha256": "sha256:" + "d" * 64}],
}


def manifest(**changes: Any) -> SignedManifest:
    return convert(BASE | changes, SignedManifest, what="manifest")


def changes(**fields: Any) -> list[Change]:
    return compare(manifest(), manifest(**fields))


def one(**fields: Any) -> tuple[str, str, bool]:
    """Risk, direction and growth of the one change that there is."""
    (found,) = changes(**fields)
    assert found.field in fields
    assert found.before != found.after
    return found.risk, found.what, found.grows


def egress(host: str, scheme: str = "https", port: int = 443) -> dict[str, Any]:
    return {"host": host, "schemes": [scheme], "ports": [port]}


def test_no_field_is_forgotten() -> None:
    assert {*COMPARED} | OF_A_RELEASE == {*SignedManifest.__struct_fields__}
    assert not {*COMPARED} & OF_A_RELEASE
    assert {*MATURITIES} == {*Maturity.__args__}  # type: ignore[attr-defined]


GROWS: dict[str, tuple[dict[str, Any], str]] = {
    "another plugin": ({"plugin_id": "q"}, "high"),
    "an older version": ({"version": "0.9"}, "high"),
    "another owner": ({"owner": "q"}, "high"),
    "another kind": ({"kind": "exporter"}, "medium"),
    "an entry point": ({"entry_points": {"g": {"n": "p:n", "m": "p:m"}}}, "medium"),
    "an entry point of a group": ({"entry_points": {"g": {"n": "p:n"}, "h": {"n": "p:n"}}}, "medium"),
    "no end": ({"expires_at": None}, "medium"),
    "a hook": ({"hooks": ["start", "stop"]}, "medium"),
    "a powerful capability": (
        {"capabilities": [*BASE["capabilities"], {"name": "subprocess", "rationale": "runs a converter"}]},
        "high",
    ),
    "a capability": (
        {"capabilities": [*BASE["capabilities"], {"name": "metrics", "rationale": "counts what it wrote"}]},
        "medium",
    ),
    "a host": ({"allowed_egress": [*BASE["allowed_egress"], egress("other.example")]}, "high"),
    "the domain itself": ({"allowed_egress": [*BASE["allowed_egress"], egress("host.example")]}, "high"),
    "a scheme": ({"allowed_egress": [*BASE["allowed_egress"], egress("a.host.example", "http")]}, "high"),
    "a port": ({"allowed_egress": [*BASE["allowed_egress"], egress("a.host.example", port=22)]}, "high"),
    "a data class": ({"data_classes": ["free text", "health"]}, "high"),
    "a classification": ({"max_classification": "secret"}, "high"),
    "a retention": ({"retention": "P2D"}, "high"),
    "a redaction gone": ({"redaction": []}, "high"),
    "a secret": ({"secrets": ["KEY", "OTHER"]}, "high"),
    "an SDK": ({"sdk_allowlist": ["attrs>=25", "openai"]}, "medium"),
    "another range of an SDK": ({"sdk_allowlist": ["attrs"]}, "medium"),
    "a path": ({"allowed_paths": ["/data/in", "/"]}, "high"),
    "a limit raised": ({"limits": {"memory_mib": 512, "network_requests": 10}}, "medium"),
    "a limit gone": ({"limits": {"memory_mib": 256}}, "medium"),
    "not hermetic": ({"hermetic_compatible": False}, "medium"),
    "less isolation": ({"isolation": "in-process"}, "high"),
    "more of the host": ({"host_provided": ["pandas>=2", "numpy"]}, "medium"),
    "another builder": ({"built_by": "https://host.example/other"}, "high"),
    "another repository": ({"source": BASE["source"] | {"repository": "https://host.example/q.git"}}, "high"),
    "no commit": ({"source": {"repository": "https://host.example/p.git"}}, "high"),
    "a dependency": (
        {"dependencies": [*BASE["dependencies"], {"name": "b", "version": "1", "sha256": "sha256:" + "e" * 64}]},
        "medium",
    ),
    "another content under a version": (
        {"dependencies": [BASE["dependencies"][0] | {"sha256": "sha256:" + "e" * 64}]},
        "high",
    ),
}


@pytest.mark.parametrize("case", GROWS)
def test_what_may_do_more_grows(case: str) -> None:
    fields, risk = GROWS[case]
    found, _, grows = one(**fields)
    assert (found, grows) == (risk, True)


SHRINKS_OR_CHANGES: dict[str, dict[str, Any]] = {
    "a newer version": {"version": "1.1"},
    "words": {"description": "Q."},
    "API": {"api_version": ">=1,<3"},
    "maturity": {"maturity": "stable"},
    "less mature": {"maturity": "alpha"},
    "another target": {"entry_points": {"g": {"n": "p:other"}}},
    "a later end": {"expires_at": "2028-01-01T00:00:00Z"},
    "no hooks": {"hooks": []},
    "configuration": {"config_defaults": {"rows": 2}},
    "a schema": {"config_schema": {"type": "object"}},
    "a rationale": {"capabilities": [{"name": "network", "rationale": "sends other reports"}]},
    "a host that was covered": {"allowed_egress": [*BASE["allowed_egress"], egress("a.host.example")]},
    "a pattern that was covered": {"allowed_egress": [*BASE["allowed_egress"], egress("*.a.host.example")]},
    "no egress": {"allowed_egress": []},
    "no data class": {"data_classes": []},
    "a lower classification": {"max_classification": "public"},
    "no retention": {"retention": None},
    "more redaction": {"redaction": ["names of people", "addresses"]},
    "no secret": {"secrets": []},
    "no SDK": {"sdk_allowlist": []},
    "no path": {"allowed_paths": []},
    "a lower limit": {"limits": {"memory_mib": 128, "network_requests": 10}},
    "a new limit": {"limits": {"memory_mib": 256, "network_requests": 10, "execution_seconds": 1}},
    "more isolation": {"isolation": "sandbox"},
    "less of the host": {"host_provided": []},
    "another range of the host": {"host_provided": ["pandas"]},
    "no dependency": {"dependencies": []},
    "a dependency's version": {"dependencies": [BASE["dependencies"][0] | {"version": "25.5.0"}]},
    "quality": {"quality": {"coverage": 90}},
}


@pytest.mark.parametrize("case", SHRINKS_OR_CHANGES)
def test_what_does_not_do_more_is_shown_and_does_not_grow(case: str) -> None:
    risk, _, grows = one(**SHRINKS_OR_CHANGES[case])
    assert not grows
    assert risk == ("medium" if case == "less mature" else "low")


def test_another_release_of_the_same_differs_in_nothing() -> None:
    other = dict.fromkeys(("artifact_digest", "record_digest", "sbom_digest"), "sha256:" + "9" * 64)
    commit = BASE["source"] | {"commit": "1" * 40}
    assert changes(**other, built_at="2026-02-01T00:00:00Z", source=commit) == []


def test_order_means_nothing() -> None:
    twice = {"data_classes": ["a", "b"], "sdk_allowlist": ["a", "b"], "secrets": ["A", "B"]}
    back = {name: list(reversed(lines)) for name, lines in twice.items()}
    assert compare(manifest(**twice), manifest(**back)) == []


def test_the_riskiest_stands_first() -> None:
    found = changes(
        description="Q.", secrets=["KEY", "OTHER"], hooks=["start", "stop"], redaction=["names of people", "addresses"]
    )
    assert [RISKS.index(change.risk) for change in found] == sorted(RISKS.index(change.risk) for change in found)
    assert found[0].field == "secrets"
    assert str(found[0]).split() == ["high", "secrets", "new", "OTHER"]


def test_evidence_that_is_gone_grows() -> None:
    (gone,) = compare_evidence(["SBOM", "test result"], ["SBOM"])
    assert (gone.risk, gone.before, gone.grows) == ("high", "test result", True)
    (new,) = compare_evidence(["SBOM"], ["SBOM", "test result"])
    assert (new.after, new.grows) == ("test result", False)


def test_a_higher_tier_and_a_condition_dropped_grow() -> None:
    found = by_risk(compare_terms(("vetted", ["a"]), ("core", ["b"]), TIERS))
    assert [(change.before, change.after, change.grows) for change in found] == [
        ("vetted", "core", True),
        ("condition: a", "", True),
        ("", "condition: b", False),
    ]
    assert [change.grows for change in compare_terms(("core", []), ("vetted", []), TIERS)] == [False]
    assert [change.grows for change in compare_terms(("platinum", []), ("vetted", []), TIERS)] == [True]


def test_a_long_value_is_cut() -> None:
    (found,) = changes(config_schema={"description": "x" * 1000})
    assert len(found.after) < 250
