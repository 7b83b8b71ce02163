"""What a builder found against what the tier bounds, and what somebody might do to pass all the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.simulator import NOW, Claims, Simulator
from tests.simulator.deployment import COMMIT
from tests.simulator.findings import with_check, with_vulnerability
from verifier.errors import LoadlockError, Refused
from verifier.formats.findings import AUDIT_FIELD, CHECKS, CHECKS_FIELD, RATINGS
from verifier.formats.manifest import SignedManifest, parse_signed_manifest
from verifier.formats.policy import TierRule
from verifier.formats.text import Duration, PluginId, Time
from verifier.judging.evidence import Evidence, parse_attestations, weigh
from verifier.judging.findings import check_findings
from verifier.judging.verify import VerifiedPlugin

LOCKED = [
    {"name": "parser", "version": "2.0", "sha256": "sha256:" + "2" * 64},
    {"name": "writer", "version": "1.0", "sha256": "sha256:" + "3" * 64},
]
BOTH = TierRule(
    isolation="in-process", require=("vulnerabilities", "test-result"), max_severity="medium",
    max_audit_age=Duration("P7D"), not_audited="host-provided", waivable=("egress-tests",), max_waiver=Duration("P90D"),
)  # fmt: skip


class Case:
    """A plugin that locks parser 2.0 and writer 1.0 and needs attrs of its host, with an honest audit and checklist."""

    def __init__(self) -> None:
        self.sim = Simulator()
        self.wheel = self.sim.wheel()
        self.claims: Claims = self.sim.claims(self.wheel)
        self.manifest = self.claims["manifest"].predicate
        self.manifest["dependencies"] = [dict(entry) for entry in LOCKED]
        self.sim.add_findings(self.claims, self.wheel)
        self.audit, self.checks = self.claims["audit"].predicate, self.claims["checks"].predicate
        self.entries: list[dict[str, Any]] = self.audit[AUDIT_FIELD]["dependencies"]
        self.entries.append({"name": "writer", "outcome": "no-known-vulnerability", "version": "1.0"})

    def entry(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.entries if entry["name"] == name)

    def judged(self) -> tuple[SignedManifest, Evidence]:
        """The manifest and the evidence, as step 10 gets them."""
        ground = self.sim.ground()
        rule = ground.trust.policy.plugins[PluginId("sample_plugin")]
        evidence = weigh(parse_attestations(self.claims.sign()), ground.ring, rule, self.digest)
        self.claims.pin()
        return parse_signed_manifest(self.claims["manifest"].predicate_bytes), evidence

    @property
    def digest(self) -> Any:
        return self.wheel.digest

    def outcome(self, tier: TierRule = BOTH, now: Any = NOW) -> str:
        """``passed``, or the code of the refusal."""
        manifest, evidence = self.judged()
        try:
            check_findings(manifest, evidence, tier, now)
        except LoadlockError as error:
            return error.code
        return "passed"


@pytest.fixture
def case() -> Case:
    return Case()


def tier(**fields: Any) -> TierRule:
    """The tier that demands both, with other bounds."""
    return TierRule(**{name: getattr(BOTH, name) for name in BOTH.__struct_fields__} | fields)


def test_the_honest_case_passes(case: Case) -> None:
    assert case.outcome() == "passed"


# -- severity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [None, *RATINGS])
@pytest.mark.parametrize("rating", [*RATINGS, "unknown", "NONE", ""])
def test_a_rating_is_admitted_up_to_the_bound_and_an_unknown_one_is_the_worst(
    case: Case, rating: str, bound: Any
) -> None:
    with_vulnerability(case.audit, rating)
    order = RATINGS.index(rating) if rating in RATINGS else len(RATINGS) - 1
    admitted = bound is not None and order <= RATINGS.index(bound)
    assert case.outcome(tier(max_severity=bound)) == ("passed" if admitted else "vulnerabilities.found")


def test_the_worst_of_several_counts(case: Case) -> None:
    with_vulnerability(case.audit, "low")
    with_vulnerability(case.audit, "critical", "writer", "1.0")
    with_vulnerability(case.audit, "none", "extra", "3.0")
    with pytest.raises(Refused) as caught:
        check_findings(*case.judged(), BOTH, NOW)
    assert caught.value.found == "'CVE-2026-0001' in 'pkg:pypi/writer@1.0', critical, fixed in 9.9"


def test_a_vulnerable_dependency_outside_the_manifest_counts_too(case: Case) -> None:
    with_vulnerability(case.audit, "high", "vendored", "1.0")
    assert case.outcome() == "vulnerabilities.found"


# -- what nobody knows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["attrs", "parser", "writer"])
@pytest.mark.parametrize("excuse", ["refuse", "host-provided", "accept"])
def test_no_excuse_covers_a_dependency_that_is_not_spoken_of(case: Case, name: str, excuse: str) -> None:
    case.entries.remove(case.entry(name))
    assert case.outcome(tier(not_audited=excuse)) == "vulnerabilities.not-audited"


@pytest.mark.parametrize(
    ("name", "excuse", "outcome"),
    [
        ("attrs", "refuse", "vulnerabilities.not-audited"),
        ("attrs", "host-provided", "passed"),
        ("attrs", "accept", "passed"),
        ("parser", "refuse", "vulnerabilities.not-audited"),
        ("parser", "host-provided", "vulnerabilities.not-audited"),
        ("parser", "accept", "passed"),
    ],
)
def test_what_was_not_audited_is_excused_as_the_tier_says(case: Case, name: str, excuse: str, outcome: str) -> None:
    if name == "parser":
        case.manifest["host_provided"] = []
        case.entries.remove(case.entry("attrs"))
        case.entry("parser").update(outcome="not-audited", reason="the service cannot be reached")
    assert case.outcome(tier(not_audited=excuse)) == outcome


@pytest.mark.parametrize("spelling", ["Attrs>=25", "ATTRS", "attrs[tests]>=25"])
def test_what_the_host_provides_is_known_by_its_normalised_name(case: Case, spelling: str) -> None:
    case.manifest["host_provided"] = [spelling]
    assert case.outcome() == "passed"
    case.entries.remove(case.entry("attrs"))
    assert case.outcome() == "vulnerabilities.not-audited"


def test_a_release_of_the_dependency_that_is_not_locked_is_no_audit_of_it(case: Case) -> None:
    case.entry("parser")["version"] = "2.1"  # the mended one, of which nothing is known
    assert case.outcome() == "vulnerabilities.not-audited"


def test_a_dependency_that_is_locked_and_audited_without_a_version_is_refused(case: Case) -> None:
    case.entry("parser").update(outcome="not-audited", reason="provided by the host, which has the version")
    del case.entry("parser")["version"]
    assert case.outcome(tier(not_audited="accept")) == "vulnerabilities.not-audited"


# -- age ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "outcome"),
    [
        (timedelta(days=6), "passed"),
        (timedelta(days=6, seconds=1), "vulnerabilities.too-old"),
        (timedelta(days=-1, minutes=-5), "passed"),
        (timedelta(days=-1, minutes=-5, seconds=-1), "vulnerabilities.too-old"),
    ],
)
def test_the_age_is_that_of_the_advisories_at_the_moment_of_loading(case: Case, late: timedelta, outcome: str) -> None:
    assert case.outcome(now=NOW + late) == outcome


def test_an_audit_that_was_only_dated_anew_is_as_old_as_what_it_knew(case: Case) -> None:
    later = Time.of(NOW + timedelta(days=30))
    case.audit["metadata"] = {"scanStartedOn": later, "scanFinishedOn": later}
    assert case.outcome(now=NOW + timedelta(days=30)) == "vulnerabilities.too-old"


def test_a_bound_of_ones_own_does_not_make_an_old_database_recent(case: Case) -> None:
    case.audit[AUDIT_FIELD]["max_age"] = "P9999D"
    case.audit["scanner"]["db"]["lastUpdate"] = "2001-01-01T00:00:00Z"
    assert case.outcome() == "vulnerabilities.too-old"


def test_where_nothing_is_known_of_anything_there_is_nothing_that_ages(case: Case) -> None:
    case.manifest["dependencies"] = []
    del case.entries[1:]
    case.audit["scanner"]["db"]["lastUpdate"] = "1970-01-01T00:00:00Z"
    assert case.outcome() == "passed"
    assert case.outcome(tier(not_audited="refuse")) == "vulnerabilities.not-audited"


# -- the checklist -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("demanded", [True, False])
def test_any_check_that_failed_or_did_not_run_stops_it(case: Case, name: str, demanded: bool) -> None:
    rule = BOTH if demanded else TierRule(isolation="in-process", require=())
    with_check(case.checks, name, {"result": "not-run", "reason": "nobody was there"})
    assert case.outcome(rule) == "checks.failed"
    failed = {"result": "failed", "tool": "tool", "version": "1", "findings": 1, "reason": "1 finding"}
    with_check(case.checks, name, failed)
    assert case.outcome(rule) == "checks.failed"


def leave_out(case: Case, name: str) -> None:
    listed = case.checks[CHECKS_FIELD]["checks"]
    listed[:] = [entry for entry in listed if entry["name"] != name]
    case.checks["passedTests"].remove(name)


CLAIMED: dict[str, Callable[[Case], object]] = {
    "a summary that says otherwise": lambda case: case.checks.update(result="PASSED", failedTests=[]),
    "a check left out": lambda case: leave_out(case, "secrets"),
    "findings in a check that passed": lambda case: case.checks[CHECKS_FIELD]["checks"][0].update(findings=1),
    "a check of one's own instead": lambda case: case.checks[CHECKS_FIELD]["checks"][0].update(name="vibes"),
    "another tool's result without the list": lambda case: case.checks.pop(CHECKS_FIELD),
}


@pytest.mark.parametrize("claim", CLAIMED)
def test_a_checklist_that_contradicts_itself_is_refused(case: Case, claim: str) -> None:
    if "summary" in claim:
        with_check(case.checks, "secrets", {"result": "not-run", "reason": "nobody was there"})
    CLAIMED[claim](case)
    assert case.outcome() == "format.schema"


def waive(case: Case, name: str, until: timedelta, waives: str = "not-run") -> None:
    ran = {"tool": "tool", "version": "1", "findings": 1} if waives == "failed" else {}
    waiver = {"waives": waives, "reason": "R", "expires": Time.of(NOW + until)}
    with_check(case.checks, name, {"result": "waived", "reason": "r", "waiver": waiver, **ran})


@pytest.mark.parametrize("waives", ["failed", "not-run"])
@pytest.mark.parametrize("name", CHECKS)
def test_only_what_the_tier_names_may_be_waived(case: Case, name: str, waives: str) -> None:
    waive(case, name, timedelta(days=1), waives)
    assert case.outcome() == ("passed" if name == "egress-tests" else "checks.not-waivable")
    assert case.outcome(tier(waivable=(), max_waiver=None)) == "checks.not-waivable"


@pytest.mark.parametrize(
    ("until", "outcome"),
    [
        (timedelta(days=-1), "checks.waiver-expired"),
        (timedelta(0), "checks.waiver-expired"),
        (timedelta(seconds=1), "passed"),
        (timedelta(days=90), "passed"),
        (timedelta(days=90, seconds=1), "checks.not-waivable"),
        (timedelta(days=20_000), "checks.not-waivable"),
    ],
)
def test_a_waiver_ends_and_within_what_the_tier_admits(case: Case, until: timedelta, outcome: str) -> None:
    waive(case, "egress-tests", until)
    assert case.outcome() == outcome


SOURCES: dict[str, list[dict[str, Any]]] = {
    "another commit": [{"name": "source", "digest": {"gitCommit": "0" * 40}}],
    "another name": [{"name": "elsewhere", "digest": {"gitCommit": COMMIT}}],
    "no digest": [{"name": "source"}],
    "another kind of digest": [{"name": "source", "digest": {"sha256": COMMIT}}],
    "two sources": [{"name": "source", "digest": {"gitCommit": commit}} for commit in (COMMIT, "1" * 40)],
    "nothing": [],
}


@pytest.mark.parametrize("what", SOURCES)
def test_the_checks_are_those_of_the_wheels_own_source(case: Case, what: str) -> None:
    case.checks["configuration"] = SOURCES[what]
    assert case.outcome() == "checks.source"


def test_an_sdist_is_compared_by_its_digest(case: Case) -> None:
    case.manifest["source"] = {"sdist": "sha256:" + "5" * 64}
    case.checks["configuration"] = [{"name": "source", "digest": {"sha256": "5" * 64}}]
    assert case.outcome() == "passed"
    case.checks["configuration"] = [{"name": "source", "digest": {"sha256": "6" * 64}}]
    assert case.outcome() == "checks.source"


# -- what an operator sees ---------------------------------------------------------------------------------------------


def verified(sim: Simulator, claims: Claims) -> VerifiedPlugin:
    claims.pin()
    return sim.verify(sim.wheel(), claims.sign())


def test_what_is_known_and_what_ends_soon_is_warned_of() -> None:
    sim = Simulator()
    claims = sim.claims(sim.wheel())
    sim.add_findings(claims, sim.wheel())
    assert (verified(sim, claims).severity, verified(sim, claims).warnings) == (None, ())
    with_vulnerability(claims["audit"].predicate, "high")
    waiver = {"waives": "not-run", "reason": "R", "expires": Time.of(NOW + timedelta(days=10))}
    with_check(claims["checks"].predicate, "tests", {"result": "waived", "reason": "r", "waiver": waiver})
    facts = verified(sim, claims)
    assert facts.severity == "high"
    assert facts.warnings == (
        "a dependency has a known vulnerability, the worst of them high",
        "the waiver of the check 'tests' expires at 2026-03-11T12:00:00Z",
    )
