"""A deployment that demands an audit and a checklist: what its server admits and its hosts load, and what not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attestor.building.wheelhouse import prepare
from crl_server.service import Authority
from loadlock.stage import Stage, example_plugin
from tests.attestor.advisories import MEDIUM, advisory, write
from tests.crl_server.live import Live, address_of, listen
from tests.wheels import build_wheel
from verifier.errors import Refused
from verifier.formats.text import Time
from verifier.gate import Gate
from verifier.judging.verify import VerifiedPlugin

TIER = """
[tiers.core]
isolation = "in-process"
require = ["provenance", "sbom", "certification", "vulnerabilities", "test-result"]
grace = "PT24H"
max_severity = "low"
max_audit_age = "P14D"
waivable = ["egress-tests"]
max_waiver = "P90D"
"""
HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)
"""The machine's clock, since commands go by it."""


class Release:
    """The example plugin, attested with one locked dependency, and the deployment that it is published to."""

    def __init__(self, root: Path) -> None:
        self.stage = Stage(root)
        self._found()
        listening = listen()
        self.stage.run(
            "init", self.stage.operator, "--id", "acme", "--profile", "demo", "--server", address_of(listening)
        )
        self._decide()
        self.wheel = self._attest(root)
        token = self.stage.run("token", "create", "ci", "--role", "publisher", deployment=self.stage.operator)["token"]
        (root / "token").write_text(token)
        (root / "token").chmod(0o600)
        self.live = Live(Authority(self.stage.operator), listening)
        self.live.now = NOW

    def _found(self) -> None:
        parser = build_wheel(
            {"parser.py": ""}, name="parser", version="2.0", metadata_lines=["License-Expression: MIT"]
        )
        self.house = self.stage.root / "house"
        shutil.copytree(prepare(example_plugin() / "build-requirements.lock"), self.house)
        (self.house / parser.file_name).write_bytes(parser.data)

    def _decide(self) -> None:
        """What the operator writes into the policy."""
        people = ("--builder", "builder", "--owner", "owner", "--certifier", "certifier")
        self.stage.run("trust", "add-plugin", "csv_exporter", *people, deployment=self.stage.operator)
        policy = self.stage.operator / "policy.toml"
        before, _, after = policy.read_text().partition("[tiers.core]")
        policy.write_text(before + TIER.lstrip() + "\n[tiers.vetted]" + after.partition("[tiers.vetted]")[2])
        self.root = self.stage.run("trust", "policy", deployment=self.stage.operator)["root"]

    def _attest(self, root: Path) -> Path:
        words = {
            "dependencies = []": 'dependencies = ["parser"]',
            '"max_class': '"sdk_allowlist": ["parser"], "max_class',
        }
        self.source = self.stage.repository(example_plugin(), "csv-exporter", words)
        made = self.stage.run(
            "attest", self.source, "-o", root / "dist", "--build-wheelhouse", self.house, "--once",
            "--wheelhouse", root / "wheels", deployment=self.stage.operator,
        )  # fmt: skip
        return Path(made["wheel"])

    def copy(self, name: str, of: Path | None = None) -> Path:
        """A copy of the release as it is, to go on with."""
        source = (of or self.wheel).parent
        shutil.copytree(source, self.stage.root / name)
        return self.stage.root / name / self.wheel.name

    def audit(self, wheel: Path, database: dict[str, object], *options: str) -> None:
        place = wheel.parent / "advisories"
        place.mkdir()
        write(place, database)
        self.stage.run(
            "check", "vulnerabilities", wheel, "--osv-db", place, "--report-only", *options,
            deployment=self.stage.operator,
        )  # fmt: skip

    def check(self, wheel: Path, *options: str | Path) -> None:
        self.stage.run(
            "check", "release", wheel, "--source", self.source, "--report-only", *options,
            deployment=self.stage.operator,
        )  # fmt: skip

    def sign(self, wheel: Path) -> None:
        """The owner endorses, security certifies."""
        self.stage.run("endorse", wheel, deployment=self.stage.operator)
        until = f"{NOW + timedelta(days=60):%Y-%m-%d}"
        words = ("certify", wheel, "--tier", "core", "--expires", until, "--yes")
        self.stage.run(*words, deployment=self.stage.operator)

    def admitted(self, wheel: Path) -> str:
        """The tier that the server admits it at, or the code with which it refuses."""
        self.live.now = datetime.now(UTC)  # lists are issued at the time of this machine, and a run may be long
        try:
            words = ("publish", wheel, "--server", self.live.address, "--token-file", self.stage.root / "token")
            return str(self.stage.run(*words, deployment=self.stage.operator)["answer"]["tier"])
        except Refused as error:
            return error.code

    def loaded(self, wheel: Path, now: datetime = NOW) -> str:
        """The tier at which a host would load it, or the code with which it refuses."""
        try:
            return self.facts(wheel, now).tier
        except Refused as error:
            return error.code

    def facts(self, wheel: Path, now: datetime = NOW) -> VerifiedPlugin:
        wheelhouse = self.stage.root / "wheels"
        return Gate.open(self.stage.host, clock=lambda: max(now, datetime.now(UTC)), wheelhouse=wheelhouse).verify(
            wheel
        )


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("LOADLOCK_")]:
            environment.delenv(name)
        made = Release(tmp_path_factory.mktemp("findings"))
        with made.live:
            made.stage.run("host", "enroll", made.live.address, "--root", made.root, deployment=made.stage.host)
            yield made
        made.live.authority.close()


@pytest.fixture(scope="module")
def checked(release: Release) -> Path:
    """Checked, with the egress tests waived for two hours; neither audited nor signed by others yet."""
    wheel = release.copy("checked")
    waiver = {"check": "egress-tests", "waives": "not-run", "reason": "None.", "expires": Time.of(NOW + 2 * HOUR)}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in waiver.items())
    (wheel.parent / "waivers.toml").write_text(f"[[waiver]]\n{lines}")
    release.check(wheel, "--waivers", wheel.parent / "waivers.toml")
    return wheel


def recent(**fields: Any) -> dict[str, object]:
    """A database of one advisory about parser, whose newest entry is of this hour."""
    return {"a.json": advisory(**{"package": "parser", "modified": Time.of(NOW), **fields})}


def test_a_release_that_was_neither_audited_nor_checked_is_refused(release: Release) -> None:
    wheel = release.copy("neither")
    release.sign(wheel)
    assert (release.admitted(wheel), release.loaded(wheel)) == ("set.statement-missing", "set.statement-missing")


def test_a_release_with_a_vulnerability_is_refused(release: Release, checked: Path) -> None:
    wheel = release.copy("vulnerable", checked)
    release.audit(wheel, recent(severity=[{"type": "CVSS_V3", "score": MEDIUM}]))
    release.sign(wheel)
    assert (release.admitted(wheel), release.loaded(wheel)) == ("vulnerabilities.found", "vulnerabilities.found")


def test_a_release_whose_audit_knew_nothing_recent_is_refused(release: Release, checked: Path) -> None:
    wheel = release.copy("old", checked)
    old = advisory(package="other", modified=Time.of(NOW - timedelta(days=20)))
    release.audit(wheel, {"a.json": old}, "--max-age", "P9999D")
    release.sign(wheel)
    assert (release.admitted(wheel), release.loaded(wheel)) == ("vulnerabilities.too-old", "vulnerabilities.too-old")


def test_a_release_whose_audit_had_nothing_to_ask_is_refused(release: Release, checked: Path) -> None:
    wheel = release.copy("empty", checked)
    release.audit(wheel, {})
    release.sign(wheel)
    assert release.admitted(wheel) == release.loaded(wheel) == "vulnerabilities.not-audited"


def test_a_release_with_a_check_that_nobody_waived_is_refused(release: Release) -> None:
    wheel = release.copy("failed")
    release.check(wheel)
    release.audit(wheel, recent(package="other"))
    release.sign(wheel)
    assert (release.admitted(wheel), release.loaded(wheel)) == ("checks.failed", "checks.failed")


def test_a_good_release_is_admitted_and_loads_until_its_waiver_ends(release: Release, checked: Path) -> None:
    wheel = release.copy("good", checked)
    release.audit(wheel, recent(database_specific={"severity": "LOW"}, severity=[]))
    release.sign(wheel)
    assert (release.admitted(wheel), release.loaded(wheel)) == ("core", "core")
    facts = release.facts(wheel)
    assert facts.severity == "low"
    assert any("the waiver of the check 'egress-tests' expires at" in warning for warning in facts.warnings)
    assert release.loaded(wheel, NOW + 3 * HOUR) == "checks.waiver-expired"

    # The audit is renewed: by the builder alone, published in the place of the first, and fetched by hosts.
    alone = release.stage.root / "on-the-host" / wheel.name
    alone.parent.mkdir()
    shutil.copy(wheel, alone)
    release.stage.run("host", "sync", alone, deployment=release.stage.host)
    assert release.facts(alone).severity == "low"
    (wheel.parent / "advisories").rename(wheel.parent / "yesterday")
    release.audit(wheel, recent(package="other"))
    assert release.admitted(wheel) == "core"
    release.stage.run("host", "sync", alone, deployment=release.stage.host)
    assert release.facts(alone).severity is None
