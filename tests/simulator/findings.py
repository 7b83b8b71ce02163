"""Honest findings of a builder, as plain values that can be made wrong: an audit, a release checklist."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from verifier.formats.findings import AUDIT_FIELD, CHECKS, CHECKS_FIELD, RATING
from verifier.formats.text import Time

BOUNDS: dict[str, Any] = {
    "max_severity": "medium",
    "max_audit_age": "P7D",
    "not_audited": "host-provided",
    "waivable": ["egress-tests"],
    "max_waiver": "P90D",
}
"""What a tier says that demands both."""


def audit(now: datetime, age: timedelta = timedelta(days=1)) -> dict[str, Any]:
    """An audit at ``now`` over a database whose newest advisory is ``age`` old: attrs, which the host provides, and
    parser 2.0, against which nothing is known.
    """
    return {
        "scanner": {
            "uri": "pkg:pypi/pip-audit@2.10.1",
            "version": "2.10.1",
            "db": {
                "uri": "https://loadlock.dev/advisories/osv-database",
                "lastUpdate": Time.of(now - age),
                "version": "sha256:" + "d" * 64,
            },
            "result": [],
        },
        "metadata": {"scanStartedOn": Time.of(now), "scanFinishedOn": Time.of(now)},
        AUDIT_FIELD: {
            "dependencies": [
                {"name": "attrs", "outcome": "not-audited", "reason": "provided by the host, which has the version"},
                {"name": "parser", "outcome": "no-known-vulnerability", "version": "2.0"},
            ],
            "advisories": 2661,
        },
    }


def with_vulnerability(predicate: dict[str, Any], score: str, name: str = "parser", version: str = "2.0") -> None:
    """Let an audit know something of a dependency, in place of what it said of it."""
    entries = predicate[AUDIT_FIELD]["dependencies"]
    entries[:] = [entry for entry in entries if entry["name"] != name]
    entries.append({"name": name, "outcome": "vulnerable", "version": version})
    predicate["scanner"]["result"].append(
        {
            "id": "CVE-2026-0001",
            "severity": [{"method": RATING, "score": score}],
            "annotations": [{"purl": f"pkg:pypi/{name}@{version}", "fixed": ["9.9"]}],
        }
    )


def checks(commit: str) -> dict[str, Any]:
    """A release checklist, all of it passed, of the source at ``commit``."""
    passed = [{"name": name, "result": "passed", "tool": "tool", "version": "1", "findings": 0} for name in CHECKS]
    return {
        "result": "PASSED",
        "configuration": [{"name": "source", "digest": {"gitCommit": commit}}],
        "passedTests": list(CHECKS),
        CHECKS_FIELD: {"checks": passed},
    }


def with_check(predicate: dict[str, Any], name: str, check: dict[str, Any]) -> None:
    """Let one check of a checklist end otherwise, and the summary follow from it."""
    listed = predicate[CHECKS_FIELD]["checks"]
    listed[CHECKS.index(name)] = {"name": name, **check}
    by_result = {entry["name"]: entry["result"] for entry in listed}
    for field, results in (("passed", ["passed"]), ("warned", ["waived"]), ("failed", ["failed", "not-run"])):
        predicate[f"{field}Tests"] = [entry for entry in CHECKS if by_result[entry] in results]
    predicate["result"] = "FAILED" if predicate["failedTests"] else "WARNED" if predicate["warnedTests"] else "PASSED"


def waived(expires: Time, waives: str = "not-run") -> dict[str, Any]:
    """A check that is waived until then."""
    ran = {"tool": "tool", "version": "1", "findings": 3} if waives == "failed" else {}
    waiver = {"waives": waives, "reason": "The plugin declares no egress.", "expires": expires}
    return {"result": "waived", "reason": "no such test", "waiver": waiver, **ran}
