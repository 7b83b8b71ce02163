"""What a builder found, held against what the tier demands of it: step 10, once the tier is known.

An audit is judged where the tier demands one, since its bounds are the tier's. The release checklist is judged wherever
it is: a builder who says that a release must not go out is believed. See ``docs/adr/0010``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from verifier.errors import Refused
from verifier.formats.findings import (
    RATINGS,
    Audited,
    Check,
    Rating,
    TestResult,
    Vulnerabilities,
    Vulnerability,
    parse_test_result,
    parse_vulnerabilities,
)
from verifier.formats.manifest import SignedManifest, Source
from verifier.formats.policy import TierRule
from verifier.formats.statement import TEST_RESULT, VULNERABILITIES
from verifier.formats.text import Time
from verifier.judging.evidence import Attested, Evidence
from verifier.value import Value

AHEAD = timedelta(minutes=5)
"""How far the clock of who audited may be ahead of this one."""
SOURCE = "source"
"""The name of the one thing that was checked and that is the wheel's source."""


class Findings(Value, frozen=True):
    """An audit and the outcome of a release checklist, as far as the set has them."""

    audit: Vulnerabilities | None
    result: TestResult | None

    @property
    def severity(self) -> Rating | None:
        """How severe the worst vulnerability is that the audit names; None where it names none, or is not there."""
        worst = None if self.audit is None else _worst(self.audit)
        return None if worst is None else worst.rating

    @property
    def waived(self) -> tuple[Check, ...]:
        """The checks that are waived."""
        return () if self.result is None else tuple(check for check in self.result.checklist.checks if check.waiver)


def findings_in(attested: Mapping[str, Attested]) -> Findings:
    """What statements, by predicate type, say was found.

    Raises:
        FormatError: any ``format.*`` code.
    """
    audit, result = attested.get(VULNERABILITIES), attested.get(TEST_RESULT)
    return Findings(
        None if audit is None else parse_vulnerabilities(audit.statement.predicate),
        None if result is None else parse_test_result(result.statement.predicate),
    )


def check_findings(manifest: SignedManifest, evidence: Evidence, tier: TierRule, now: datetime) -> Findings:
    """Step 10: the audit is within the tier's bounds, and every check of the release passed or is waived.

    Raises:
        Refused: a ``vulnerabilities.*`` or ``checks.*`` code, or that of :meth:`Evidence.require`.
        FormatError: any ``format.*`` code.
    """
    for requirement, kind in (("vulnerabilities", VULNERABILITIES), ("test-result", TEST_RESULT)):
        if requirement in tier.require:
            evidence.require(kind)
    found = findings_in(evidence.attested)
    if found.audit is not None and "vulnerabilities" in tier.require:
        _check_coverage(found.audit, manifest, tier)
        check_severity(_worst(found.audit), tier)
        _check_age(found.audit, tier, now)
    if found.result is not None:
        _check_source(found.result, manifest.source)
        _check_passed(found.result)
        _check_waivers(found.waived, tier, now)
    return found


def check_severity(worst: Vulnerability | Rating | None, tier: TierRule) -> None:
    """The worst vulnerability that is known is one that the tier admits; running plugins are held against it again.

    Args:
        worst: the vulnerability, or only its rating; None when there is none.
        tier: what bounds it; a tier that demands no audit bounds nothing.

    Raises:
        Refused: ``vulnerabilities.found``.
    """
    if worst is None or "vulnerabilities" not in tier.require:
        return
    rating = worst if isinstance(worst, str) else worst.rating
    if tier.max_severity is not None and RATINGS.index(rating) <= RATINGS.index(tier.max_severity):
        return
    raise Refused(
        "vulnerabilities.found", "a dependency has a known vulnerability that the tier does not admit",
        found=rating if isinstance(worst, str) else _described(worst),
        expected="none" if tier.max_severity is None else f"{tier.max_severity} at most",
    )  # fmt: skip


def _worst(audit: Vulnerabilities) -> Vulnerability | None:
    return max(audit.scanner.result, key=lambda entry: RATINGS.index(entry.rating), default=None)


def _described(found: Vulnerability) -> str:
    mended = ", ".join(found.annotations[0].fixed[:5])
    return f"{found.id[:100]!a} in {found.purl[:200]!a}, {found.rating}" + (f", fixed in {mended}" if mended else "")


def _check_coverage(audit: Vulnerabilities, manifest: SignedManifest, tier: TierRule) -> None:
    """Every dependency is spoken of in its version, and none is without an answer that the tier insists on."""
    entries = {entry.name: entry for entry in audit.audit.dependencies}
    hosts = {wanted.project for wanted in manifest.host_provided}
    locked = {str(dependency.name): dependency.version for dependency in manifest.dependencies}
    for name in sorted({*hosts, *locked}):
        entry, version = entries.get(name), locked.get(name)
        if entry is None or entry.version != version:
            raise Refused(
                "vulnerabilities.not-audited", "a dependency is not in the audit as the manifest has it",
                found="no such entry" if entry is None else f"{name} {entry.version or 'without a version'}",
                expected=f"{name} {version}" if version else f"{name} without a version, which the host has",
            )  # fmt: skip
    for entry in entries.values():
        if entry.outcome == "not-audited" and not _excused(entry, hosts - locked.keys(), tier):
            raise Refused(
                "vulnerabilities.not-audited", "nobody knows what is known of a dependency",
                found=f"{entry.name}: {entry.reason!a}", expected="an answer: the tier accepts no less",
            )  # fmt: skip


def _excused(entry: Audited, hosts: set[str], tier: TierRule) -> bool:
    return tier.not_audited == "accept" or (tier.not_audited == "host-provided" and entry.name in hosts)


def _check_age(audit: Vulnerabilities, tier: TierRule, now: datetime) -> None:
    """That nothing is known against a dependency is worth something for as long as the tier says."""
    known = any(entry.outcome != "not-audited" for entry in audit.audit.dependencies)
    if tier.max_audit_age is None or not known:
        return
    moment = audit.scanner.db.lastUpdate
    if not now - tier.max_audit_age.span <= moment.instant <= now + AHEAD:
        raise Refused(
            "vulnerabilities.too-old", "what the audit knew is not as recent as the tier demands",
            found=moment, expected=f"within {tier.max_audit_age} before {Time.of(now)}",
        )  # fmt: skip


def _check_source(result: TestResult, source: Source) -> None:
    """What was checked is what the wheel was built from, as far as the manifest says what that was."""
    checked = [entry for entry in result.configuration if entry.name == SOURCE]
    for pinned, algorithm in ((source.commit, "gitCommit"), (source.sdist and source.sdist.hex, "sha256")):
        found = [entry.digest.get(algorithm) for entry in checked]
        if pinned is not None and found != [pinned]:
            raise Refused(
                "checks.source", "another source was checked than the wheel was built from",
                found=f"{algorithm} {', '.join(map(ascii, found)) or 'of nothing'}", expected=f"{algorithm} {pinned}",
            )  # fmt: skip


def _check_passed(result: TestResult) -> None:
    failed = [check for check in result.checklist.checks if check.result in ("failed", "not-run")]
    if failed:
        raise Refused(
            "checks.failed", "a check of the release failed or did not run",
            found="; ".join(f"{check.name}: {check.reason[:100]!a}" for check in failed), expected="passed, or waived",
        )  # fmt: skip


def _check_waivers(waived: tuple[Check, ...], tier: TierRule, now: datetime) -> None:
    """No waiver has expired; and where the tier demands the checklist, each is one that it admits, for no longer."""
    longest = None if tier.max_waiver is None else now + tier.max_waiver.span
    for check in waived:
        assert check.waiver is not None  # noqa: S101 - the format has it exactly where a check is waived
        expires = check.waiver.expires
        if expires.instant <= now:
            raise Refused(
                "checks.waiver-expired", f"the waiver of the check {check.name!r} has expired", found=expires,
                expected=f"later than {Time.of(now)}",
            )  # fmt: skip
        if "test-result" in tier.require and (check.name not in tier.waivable or longest is None):
            raise Refused(
                "checks.not-waivable", "a check is waived that the tier insists on", found=check.name,
                expected=f"only {', '.join(tier.waivable)} may be" if tier.waivable else "none may be",
            )  # fmt: skip
        if longest is not None and expires.instant > longest:
            raise Refused(
                "checks.not-waivable", f"the check {check.name!r} is waived for longer than the tier admits",
                found=f"until {expires}", expected=f"until {Time.of(longest)} at most",
            )  # fmt: skip
