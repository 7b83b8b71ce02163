"""What a builder found: known vulnerabilities of the dependencies, and the outcome of the release checklist.

Both are predicates of in-toto, each with one extension field of ours. No answer is never an answer: a dependency that
could not be audited is said to be so, and a check that did not run counts as one that failed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from verifier.formats.statement import MAX_STATEMENT, Resource
from verifier.formats.strict_json import Document, parse
from verifier.formats.text import Duration, Line, Sentence, Time, Uri, Version

AUDIT_FIELD = "https://loadlock.dev/audit/v1"
CHECKS_FIELD = "https://loadlock.dev/checks/v1"
RATING = "https://loadlock.dev/severity/v1"
"""The method of the one severity that a policy bounds; others are kept as the advisory has them."""
NEVER = Time("1970-01-01T00:00:00Z")
"""When a database was last updated that holds no dated advisory, or a service that never answered."""
MAX_FOUND = 5000
"""How many vulnerabilities one audit may name."""
MAX_AUDITED = 1500
"""How many dependencies one audit may cover."""

Rating = Literal["none", "low", "medium", "high", "critical"]
RATINGS: tuple[Rating, ...] = ("none", "low", "medium", "high", "critical")
"""From least to most severe, as CVSS names them; a score of no such name counts as the worst."""
Outcome = Literal["vulnerable", "no-known-vulnerability", "not-audited"]
CheckName = Literal["tests", "egress-tests", "secrets", "static-analysis", "licences"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
"""The release checklist; a statement names each of them once."""
CheckResult = Literal["passed", "failed", "waived", "not-run"]


def rating_named(word: str) -> Rating:
    """The rating of that name; the worst when there is none."""
    return next((rating for rating in RATINGS if rating == word), RATINGS[-1])


# -- vulnerabilities: in-toto vulns v0.2 -------------------------------------------------------------------------------


class Severity(Document, frozen=True, kw_only=True):
    """How severe a vulnerability is by one method, such as ``CVSS_V3`` with its vector, or :data:`RATING`."""

    method: Annotated[str, Meta(min_length=1, max_length=100)]
    score: Line


class Affected(Document, frozen=True, kw_only=True):
    """Which dependency a vulnerability is in, under which other names it is known, and what mends it."""

    purl: Uri
    aliases: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    fixed: Annotated[tuple[Version, ...], Meta(max_length=500)] = ()


class Vulnerability(Document, frozen=True, kw_only=True):
    """One vulnerability of one dependency."""

    id: Annotated[Line, Meta(min_length=1)]
    severity: Annotated[tuple[Severity, ...], Meta(min_length=1, max_length=20)]
    annotations: Annotated[tuple[Affected, ...], Meta(min_length=1, max_length=1)]

    def __post_init__(self) -> None:
        if sum(entry.method == RATING for entry in self.severity) != 1:
            raise ValueError(f"severity: expected one by the method {RATING!r}")

    @property
    def purl(self) -> str:
        """The dependency it is in."""
        return self.annotations[0].purl

    @property
    def rating(self) -> Rating:
        """How severe it is; the worst when nobody has said."""
        return rating_named(next(entry.score for entry in self.severity if entry.method == RATING))


class AdvisoryDatabase(Document, frozen=True, kw_only=True):
    """What the audit knows: a database by its digest (``version``) and newest advisory, or a service by when it
    answered.
    """

    uri: Uri
    lastUpdate: Time  # noqa: N815 - the names are in-toto's
    version: Line = ""


class Scanner(Document, frozen=True, kw_only=True):
    """What looked, in which database, and what it found."""

    uri: Uri
    version: Line
    db: AdvisoryDatabase
    result: Annotated[tuple[Vulnerability, ...], Meta(max_length=MAX_FOUND)]


class ScanTimes(Document, frozen=True, kw_only=True):
    """When the audit began and ended."""

    scanStartedOn: Time  # noqa: N815
    scanFinishedOn: Time  # noqa: N815


class Audited(Document, frozen=True, kw_only=True):
    """One dependency and what is known of it; without a version when the host provides it."""

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=200)]
    outcome: Outcome
    version: Version | None = None
    reason: Line = ""

    @property
    def purl(self) -> str:
        """The package URL."""
        return f"pkg:pypi/{self.name}" + (f"@{self.version}" if self.version else "")

    def __post_init__(self) -> None:
        if (self.outcome == "not-audited") != bool(self.reason):
            raise ValueError(f"{self.name!r}: expected a reason exactly where the outcome is 'not-audited'")
        if self.outcome != "not-audited" and self.version is None:
            raise ValueError(f"{self.name!r}: expected the version that was audited")


class Unread(Document, frozen=True, kw_only=True):
    """Advisories that could not be read: how many, and the names of the first."""

    count: Annotated[int, Meta(ge=1)]
    names: Annotated[tuple[Sentence, ...], Meta(min_length=1, max_length=20)]


class Audit(Document, frozen=True, kw_only=True):
    """Loadlock's extension: each dependency with its outcome, and how much and how old what was known is."""

    dependencies: Annotated[tuple[Audited, ...], Meta(max_length=MAX_AUDITED)]
    advisories: Annotated[int, Meta(ge=0)] | None = None
    unread: Unread | None = None
    age: Duration | None = None
    max_age: Duration | None = None

    def __post_init__(self) -> None:
        _refuse_twice("dependencies", [entry.name for entry in self.dependencies])


class Vulnerabilities(Document, frozen=True, kw_only=True):
    """An audit of the dependencies; see ``docs/spec/vulnerabilities.md``."""

    scanner: Scanner
    metadata: ScanTimes
    audit: Audit = msgspec.field(name=AUDIT_FIELD)

    def __post_init__(self) -> None:
        found = {entry.purl for entry in self.scanner.result}
        vulnerable = {entry.purl for entry in self.audit.dependencies if entry.outcome == "vulnerable"}
        if found != vulnerable:
            named = sorted(found ^ vulnerable)[0]
            raise ValueError(f"{named[:200]!r} is vulnerable by the list of dependencies or by the result, not by both")
        if self.metadata.scanFinishedOn < self.metadata.scanStartedOn:
            raise ValueError("the audit ended before it began")
        if self.scanner.db.lastUpdate > self.metadata.scanStartedOn:
            raise ValueError("the database was updated after the audit began")
        if self.audit.age is not None and self.audit.age.span != self._age:
            raise ValueError(f"age: expected {duration_of(self._age)!r}, which follows from the other times")
        self._check_silence()

    def _check_silence(self) -> None:
        """That nothing is known against a dependency is nobody's to say whose advisories are none, undated or old."""
        longest = self.audit.max_age
        for wrong, why in (
            (self.scanner.db.lastUpdate == NEVER, "nothing is dated"),
            (self.audit.advisories == 0, "the database is empty"),
            (longest is not None and self._age > longest.span, "the database is older than 'max_age'"),
        ):
            for entry in self.audit.dependencies if wrong else ():
                if entry.outcome == "no-known-vulnerability":
                    raise ValueError(f"{entry.name!r}: expected 'not-audited', for {why}")

    @property
    def _age(self) -> timedelta:
        return self.metadata.scanStartedOn.instant - self.scanner.db.lastUpdate.instant


def duration_of(span: timedelta) -> Duration:
    """A length of time in days and seconds.

    Raises:
        ValueError: it is negative, or of 10,000 days and more.
    """
    return Duration(f"P{span.days}DT{span.seconds}S")


# -- the release checklist: in-toto test-result v0.1 -------------------------------------------------------------------


class Waiver(Document, frozen=True, kw_only=True):
    """Why a check that did not pass stops nothing, until when, and what it was that is waived."""

    waives: Literal["failed", "not-run"]
    reason: Sentence
    expires: Time


class Check(Document, frozen=True, kw_only=True):
    """One check: with which tool, how many findings, and how it ended; ``reason`` says why it did not pass, and
    ``suppressed`` how many findings the code itself has passed over, by comments in it.
    """

    name: CheckName
    result: CheckResult
    tool: Line = ""
    version: Line = ""
    findings: Annotated[int, Meta(ge=0)] | None = None
    suppressed: Annotated[int, Meta(ge=0)] | None = None
    reason: Line = ""
    waiver: Waiver | None = None

    def __post_init__(self) -> None:
        if (self.result == "waived") != (self.waiver is not None):
            raise ValueError(f"{self.name!r}: expected a waiver exactly where the result is 'waived'")
        if (self.result == "passed") == bool(self.reason):
            raise ValueError(f"{self.name!r}: expected a reason exactly where it did not pass")
        ran = (self.waiver.waives if self.waiver else self.result) in ("passed", "failed")
        if ran != (self.findings is not None) or (ran and not (self.tool and self.version)):
            raise ValueError(f"{self.name!r}: expected findings exactly where it ran, with which tool and version")
        if ran and (self.result == "passed") != (self.findings == 0):
            raise ValueError(f"{self.name!r}: expected no findings exactly where it passed")


class Checklist(Document, frozen=True, kw_only=True):
    """Loadlock's extension: every check of the list, once."""

    checks: Annotated[tuple[Check, ...], Meta(max_length=len(CHECKS))]

    def __post_init__(self) -> None:
        names = tuple(check.name for check in self.checks)
        if names != CHECKS:
            raise ValueError(f"checks: expected {', '.join(CHECKS)}, in this order")


class TestResult(Document, frozen=True, kw_only=True):
    """The outcome of the release checklist; see ``docs/spec/test-result.md``."""

    __test__ = False  # pytest takes classes of such a name for tests

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: Annotated[tuple[Resource, ...], Meta(max_length=50)]
    url: Uri = ""
    passedTests: tuple[CheckName, ...] = ()  # noqa: N815 - the names are in-toto's
    warnedTests: tuple[CheckName, ...] = ()  # noqa: N815
    failedTests: tuple[CheckName, ...] = ()  # noqa: N815
    checklist: Checklist = msgspec.field(name=CHECKS_FIELD)

    def __post_init__(self) -> None:
        for field, expected in summary_of(self.checklist).items():
            if getattr(self, field) != expected:
                raise ValueError(f"{field}: expected {expected!r}, which follows from the checks")


def summary_of(checklist: Checklist) -> dict[str, Any]:
    """What a checklist amounts to in in-toto's own fields; a check that did not run is among those that failed."""
    passed: list[CheckName] = []
    warned: list[CheckName] = []
    failed: list[CheckName] = []
    lists = {"passed": passed, "waived": warned, "failed": failed, "not-run": failed}
    for check in checklist.checks:
        lists[check.result].append(check.name)
    result = "FAILED" if failed else "WARNED" if warned else "PASSED"
    return {
        "result": result, "passedTests": tuple(passed), "warnedTests": tuple(warned), "failedTests": tuple(failed),
    }  # fmt: skip


def parse_vulnerabilities(predicate: bytes) -> Vulnerabilities:
    """Read a vulns predicate; raises FormatError with any ``format.*`` code."""
    return parse(predicate, Vulnerabilities, limit=MAX_STATEMENT, what="audit of vulnerabilities")


def parse_test_result(predicate: bytes) -> TestResult:
    """Read a test-result predicate; raises FormatError with any ``format.*`` code."""
    return parse(predicate, TestResult, limit=MAX_STATEMENT, what="test result")


def _refuse_twice(field: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{field}: {twice[0]!r} stands there twice")
