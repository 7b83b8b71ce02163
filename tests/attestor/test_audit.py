"""Audits: silence is taken for an answer only where it was earned."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from attestor.checking.audit import BY_HOST, Audit, audit_over_database, audit_over_service
from attestor.checking.osv import read_database
from attestor.pipeline import Attestation
from tests.attestor.advisories import advisory, answer, ranged, serving, write
from tests.attestor.conftest import NOW
from verifier.errors import Refused
from verifier.formats.findings import NEVER, parse_vulnerabilities
from verifier.formats.manifest import Dependency, RequirementText, SignedManifest
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, Duration, Version

ANY = Digest(f"sha256:{'0' * 64}")


@pytest.fixture(scope="module")
def manifest(attested: Attestation) -> SignedManifest:
    """The example's manifest, with two locked dependencies and one of the host's."""
    locked = tuple(
        Dependency(name=name, version=Version(number), sha256=ANY)
        for name, number in (("alpha", "2.0"), ("beta", "1.0"))
    )
    return msgspec.structs.replace(
        attested.manifest, dependencies=locked, host_provided=(RequirementText("Gam.ma>=1"),)
    )


def audited(manifest: SignedManifest, place: Path, files: dict[str, Any], **options: Any) -> Audit:
    place.mkdir(exist_ok=True)
    audit = audit_over_database(manifest, read_database(write(place, files), NOW), now=NOW, **options)
    assert parse_vulnerabilities(dumps(audit.predicate)) == audit.predicate
    return audit


def outcomes(audit: Audit) -> dict[str, tuple[str, str]]:
    return {entry.name: (entry.outcome, entry.reason) for entry in audit.predicate.audit.dependencies}


def inside(*parts: tuple[str, str]) -> bytes:
    """As much of an SBOM as says what a wheel carries."""
    ours = [{"name": "loadlock:provided-by", "value": "wheel"}]
    components: list[dict[str, Any]] = [{"name": name, "version": number, "properties": ours} for name, number in parts]
    components.append({"name": "of another tool", "version": "?"})
    return json.dumps({"metadata": {"component": {"components": components}}}).encode()


def test_what_the_wheel_carries_inside_is_audited_too(manifest: SignedManifest, tmp_path: Path) -> None:
    files = {"a.json": advisory(package="delta")}
    audit = audited(manifest, tmp_path / "db", files, sbom=inside(("delta", "1.0"), ("alpha", "2.0")))
    assert {name: found for name, (found, _) in outcomes(audit).items()} == {
        "alpha": "no-known-vulnerability", "beta": "no-known-vulnerability", "delta": "vulnerable",
        "gam-ma": "not-audited",
    }  # fmt: skip


@pytest.mark.parametrize("parts", [[("alpha", "1.9")], [("gam-ma", "1")], [("delta", "1"), ("delta", "2")]])
def test_two_versions_of_one_name_are_not_audited_as_one(
    manifest: SignedManifest, tmp_path: Path, parts: list[tuple[str, str]]
) -> None:
    with pytest.raises(Refused) as caught:
        audited(manifest, tmp_path / "db", {"a.json": advisory(package="other")}, sbom=inside(*parts))
    assert caught.value.code == "vulnerabilities.not-audited"


# -- not audited -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "the database is empty"),
        ({"a.yaml": b"id: X"}, "the database is empty"),
        ({"a.json": advisory(package="other"), "b.json": b"{"}, "1 advisories of the database cannot be read"),
        (
            {"a.json": advisory(package="other", modified="2026-01-24T11:59:59Z")},
            "the database is older than P7D: its newest advisory is of 2026-01-24T11:59:59Z",
        ),
        (
            {"a.json": advisory(package="other", modified="2099-01-01T00:00:00Z")},
            "no advisory about Python distributions says when it was modified",
        ),
        (  # the mirror of another ecosystem goes on, that of Python has stopped
            {
                "a.json": advisory("X-1", package="other", modified="2026-01-24T11:59:59Z"),
                "b.json": advisory("X-2", affected=[{"package": {"ecosystem": "npm", "name": "other"}}]),
            },
            "the database is older than P7D: its newest advisory is of 2026-01-24T11:59:59Z",
        ),
        (
            {"a.json": advisory(affected=[{"package": {"ecosystem": "npm", "name": "other"}}])},
            "no advisory about Python distributions says when it was modified",
        ),
    ],
)
def test_the_silence_of_such_a_database_is_no_answer(
    manifest: SignedManifest, tmp_path: Path, files: dict[str, Any], reason: str
) -> None:
    audit = audited(manifest, tmp_path, files)
    assert outcomes(audit) == {
        "alpha": ("not-audited", reason),
        "beta": ("not-audited", reason),
        "gam-ma": ("not-audited", BY_HOST),
    }
    assert audit.predicate.scanner.result == ()


@pytest.mark.parametrize(
    "bad", [advisory("BAD", "beta", modified="yesterday"), advisory("BAD", affected=ranged(package="beta"))]
)
def test_an_advisory_that_cannot_be_used_spoils_its_own_package(
    manifest: SignedManifest, tmp_path: Path, bad: dict[str, Any]
) -> None:
    found = outcomes(audited(manifest, tmp_path, {"a.json": advisory(package="other"), "b.json": bad}))
    assert found["alpha"] == ("no-known-vulnerability", "")
    assert found["beta"] == ("not-audited", "an advisory about it cannot be evaluated")


def test_a_service_that_is_gone_is_asked_once_and_nothing_was_learnt(manifest: SignedManifest) -> None:
    with serving({}) as service:
        service.reply = lambda handler: answer(handler, 503)
        audit = audit_over_service(manifest, "osv", now=NOW, address=service.url)
    assert len(service.queries) == 1
    reason = "the service answered with status 503"
    assert outcomes(audit) == {
        "alpha": ("not-audited", reason), "beta": ("not-audited", reason), "gam-ma": ("not-audited", BY_HOST),
    }  # fmt: skip
    assert audit.gone
    assert audit.predicate.scanner.db.lastUpdate == NEVER
    assert audit.predicate.audit.age is None


# -- audited -----------------------------------------------------------------------------------------------------------


def test_a_finding_stands_whatever_the_state_of_the_database(manifest: SignedManifest, tmp_path: Path) -> None:
    old = advisory(modified="2020-01-01T00:00:00Z", aliases=["CVE-1"])
    audit = audited(manifest, tmp_path, {"a.json": old, "b.json": b"{"})
    assert outcomes(audit)["alpha"] == ("vulnerable", "")
    assert outcomes(audit)["beta"][0] == "not-audited"
    (found,) = audit.predicate.scanner.result
    assert (found.id, found.purl, found.rating) == ("CVE-1", "pkg:pypi/alpha@2.0", "critical")
    assert (found.annotations[0].aliases, found.annotations[0].fixed) == (("X-1",), ("2.1",))


def test_what_was_known_is_stated_with_digest_count_and_age(manifest: SignedManifest, tmp_path: Path) -> None:
    files = {"a.json": advisory(), "b.json": advisory("B", "other"), "c.json": advisory("C", "beta", id=None)}
    audit = audited(manifest, tmp_path, files, max_age=Duration("PT24H"))
    predicate = audit.predicate
    assert predicate.scanner.uri.startswith("pkg:pypi/pip-audit@2.10.")
    assert predicate.scanner.db.version == read_database(tmp_path, NOW).digest
    assert predicate.scanner.db.lastUpdate == "2026-01-30T12:00:00Z"
    assert (predicate.audit.advisories, predicate.audit.age, predicate.audit.max_age) == (2, "P1DT0S", "PT24H")
    assert predicate.audit.unread is not None
    assert (predicate.audit.unread.count, predicate.audit.unread.names) == (1, ("c.json",))


def test_a_database_is_recent_until_the_age_is_over(manifest: SignedManifest, tmp_path: Path) -> None:
    files = {"a.json": advisory(package="other", modified="2026-01-24T12:00:00Z")}
    assert outcomes(audited(manifest, tmp_path, files))["alpha"] == ("no-known-vulnerability", "")


def test_a_service_answers_for_the_moment_it_is_asked(manifest: SignedManifest) -> None:
    with serving({"alpha": [advisory()]}) as service:
        audit = audit_over_service(manifest, "osv", now=NOW + timedelta(microseconds=5), address=service.url)
    assert outcomes(audit) == {
        "alpha": ("vulnerable", ""), "beta": ("no-known-vulnerability", ""), "gam-ma": ("not-audited", BY_HOST),
    }  # fmt: skip
    assert (audit.predicate.scanner.db.lastUpdate, audit.predicate.audit.age) == ("2026-01-31T12:00:00Z", "P0DT0S")
    assert service.url not in dumps(audit.predicate).decode()
    assert not audit.gone
