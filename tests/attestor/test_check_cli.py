"""The commands that check what is released, from the files beside a wheel to the set that hosts read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from attestor.building.wheelhouse import Wheelhouse
from attestor.checking import osv
from attestor.checking.osv import Database, read_database
from attestor.checking.review import Keys, Review, review
from attestor.commands.check import CHECK_COMMANDS
from attestor.commands.places import WheelFiles
from attestor.pipeline import Options, attest_wheel
from tests.attestor import test_cli
from tests.attestor.advisories import advisory, answer, serving, write
from tests.attestor.conftest import NOW, Signers
from tests.attestor.test_cli import Parser, Recorder
from tests.wheels import build_wheel
from verifier.errors import LoadlockError
from verifier.formats.findings import Vulnerabilities, parse_vulnerabilities
from verifier.formats.statement import CERTIFICATION, MANIFEST, SBOM, VULNERABILITIES
from verifier.formats.text import Time

elsewhere = test_cli.elsewhere


@dataclass
class Release:
    """A wheel that locks alpha 2.0 and beta 1.0, attested, with the files beside it and the keys of its signers."""

    files: WheelFiles
    place: Path

    def check(self, name: str, *arguments: object, key: str = "builder") -> tuple[int, Recorder]:
        """Run a command on it: the exit status and what it said."""
        command = next(command for command in CHECK_COMMANDS if command.name == name)
        parser = Parser(prog=name)
        parser.add_argument("--deployment")
        command.configure(parser)
        output = Recorder()
        given = [str(self.files.wheel), "--key", str(self.place / f"{key}.pem"), *map(str, arguments)]
        return command.run(parser.parse_args(given), output) or 0, output

    def refused(self, name: str, *arguments: object, key: str = "builder") -> str:
        before = self.files.read_attestations()
        with pytest.raises(LoadlockError) as caught:
            self.check(name, *arguments, key=key)
        assert self.files.read_attestations() == before
        return caught.value.code

    def sign(self, name: str, *arguments: object) -> list[str]:
        """The owner endorses, or the certifier certifies; what each of them is shown."""
        role = {"endorse": "owner", "certify": "certifier"}[name]
        key = ("--key", self.place / f"{role}.pem")
        return test_cli.run(name, self.files.wheel, *key, *self.known("builder"), *arguments).lines

    def known(self, *roles: str) -> list[object]:
        """The options that name the public keys of these roles."""
        return [part for role in roles for part in (f"--{role}-key", self.place / f"{role}.pem.pub")]

    def review(self, signers: Signers) -> Review:
        """The set, verified."""
        keys: Keys = {
            "builder": [signers.builder.public_key],
            "owner": [signers.owner.public_key],
            "certifier": [signers.certifier.public_key],
        }
        return review(self.files.read_wheel(), self.files.wheel.name, self.files.read_attestations(), keys)

    def audit(self, signers: Signers) -> Vulnerabilities:
        """What the set says of vulnerabilities, verified."""
        return parse_vulnerabilities(self.review(signers).require(VULNERABILITIES).statement.predicate)


@pytest.fixture
def release(tmp_path: Path, signers: Signers) -> Release:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, version in (("alpha", "2.0"), ("beta", "1.0")):
        wheel = build_wheel({f"{name}.py": ""}, name=name, version=version)
        (shelf / wheel.file_name).write_bytes(wheel.data)
    plugin = build_wheel(
        {"exporter.py": "def export(): ..."}, name="exporter", version="1.0",
        metadata_lines=["Requires-Dist: alpha", "Requires-Dist: beta", "Requires-Dist: gamma"],
    )  # fmt: skip
    (tmp_path / plugin.file_name).write_bytes(plugin.data)
    manifest = {
        "v": 1, "plugin_id": "exporter", "version": "1.0", "description": "Exports.", "owner": "owner",
        "kind": "exporter", "api_version": ">=1", "maturity": "stable", "host_provided": ["gamma"],
        "sdk_allowlist": ["alpha", "beta"],
        "entry_points": {"exporters": {"csv": "exporter:export"}},
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    options = Options(manifest=tmp_path / "manifest.json", house=Wheelhouse(shelf, cache=tmp_path / "cache"))
    made = attest_wheel(tmp_path / plugin.file_name, options, signers.builder, now=NOW)
    files = WheelFiles(tmp_path / "dist" / made.file_name)
    files.wheel.parent.mkdir()
    files.wheel.write_bytes(made.wheel)
    files.attestations.write_bytes(made.attestations)
    files.unsigned.write_bytes(made.unsigned)
    return Release(files, signers.place)


@pytest.fixture
def recent() -> str:
    """A moment within the age that a database may have."""
    return Time.of(datetime.now(UTC))


@pytest.fixture
def database(tmp_path: Path, recent: str) -> Path:
    """A database that knows something against alpha."""
    files = {"a.json": advisory("GHSA-1", aliases=["CVE-1"], modified=recent)}
    return write(tmp_path / "database", files)


# -- check vulnerabilities: refused ------------------------------------------------------------------------------------

AUDIT = "check vulnerabilities"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--osv-db", "database", "--service", "osv"],
        ["--osv-db", "database", "--service-url", "https://host.example"],
        ["--service", "pypi", "--service-url", "https://host.example"],
        ["--service", "other"],
        ["--max-age", "P7D"],
        ["--osv-db", "database", "--max-age", "a week"],
        ["--osv-db", "absent"],
    ],
)
def test_wrong_arguments_are_refused(release: Release, arguments: list[str]) -> None:
    assert release.refused(AUDIT, *arguments) == "usage.arguments"


def test_a_set_that_is_not_what_it_was_is_not_amended(release: Release, database: Path) -> None:
    assert release.refused(AUDIT, "--osv-db", database, key="stranger") == "signature.unknown-signer"
    release.files.wheel.write_bytes(release.files.read_wheel() + b"x")
    assert release.refused(AUDIT, "--osv-db", database) == "wheel.archive"
    release.files.attestations.unlink()


def test_without_a_manifest_nobody_knows_what_to_audit(release: Release, database: Path) -> None:
    release.files.unsigned.unlink()
    assert release.refused(AUDIT, "--osv-db", database) == "set.statement-missing"


def test_a_set_that_others_signed_needs_their_keys(release: Release, database: Path) -> None:
    release.sign("endorse")
    assert release.refused(AUDIT, "--osv-db", database) == "signature.unknown-signer"


# -- check vulnerabilities: done ---------------------------------------------------------------------------------------


def test_a_vulnerable_dependency_is_signed_and_told(release: Release, database: Path, signers: Signers) -> None:
    status, output = release.check(AUDIT, "--osv-db", database)
    assert status == 1
    assert [line for line in output.lines if not line.startswith(("audit ", "database"))] == [
        "alpha 2.0: vulnerable",
        "  CVE-1 (GHSA-1) critical: It does what it should not.; fixed in 2.1",
        "beta 1.0: no-known-vulnerability",
        "gamma (from the host): not-audited, provided by the host, which has the version",
    ]
    assert output.value["ok"] is False
    assert [entry.id for entry in release.audit(signers).scanner.result] == ["CVE-1"]
    assert output.value["audit"]["scanner"]["db"]["version"].startswith("sha256:")


def test_what_is_known_and_what_is_not_is_told_to_ci_systems(
    release: Release, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality = tmp_path / "quality.json"
    release.check(AUDIT, "--osv-db", database, "--annotations", "github", "--code-quality", quality)
    assert capsys.readouterr().err.splitlines() == [
        "::error file=pyproject.toml,line=1,title=CVE-1::alpha 2.0: CVE-1 (GHSA-1) critical: "
        "It does what it should not.; fixed in 2.1",
        "::notice file=pyproject.toml,line=1,title=vulnerabilities.not-audited::gamma (from the host): not audited, "
        "provided by the host, which has the version",
    ]
    assert [entry["severity"] for entry in json.loads(quality.read_bytes())] == ["blocker", "info"]


def test_report_only_tells_and_signs_the_same(release: Release, database: Path, signers: Signers) -> None:
    status, output = release.check(AUDIT, "--osv-db", database, "--report-only")
    assert (status, output.value["ok"]) == (0, True)
    assert [entry.id for entry in release.audit(signers).scanner.result] == ["CVE-1"]


@pytest.mark.parametrize(("files", "status"), [({"a.json": advisory(package="other")}, 1), ({}, 1)])
def test_what_could_not_be_audited_is_no_success(
    release: Release, tmp_path: Path, files: dict[str, Any], status: int, signers: Signers
) -> None:
    (tmp_path / "old").mkdir()
    found, output = release.check(AUDIT, "--osv-db", write(tmp_path / "old", files))
    assert found == status
    assert {entry.outcome for entry in release.audit(signers).audit.dependencies} == {"not-audited"}
    assert not any("clean" in line for line in output.lines)


def test_the_age_is_the_callers_to_choose(release: Release, tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"a.json": advisory(package="other", modified="2026-01-01T00:00:00Z")})
    assert release.check(AUDIT, "--osv-db", old, "--max-age", "P3650D")[0] == 0


def test_a_service_that_is_gone_is_told_by_its_own_status(release: Release, signers: Signers) -> None:
    with serving({}) as service:
        service.reply = lambda handler: answer(handler, 500)
        status, _ = release.check(AUDIT, "--service-url", service.url)
    assert status == 3
    assert {entry.outcome for entry in release.audit(signers).audit.dependencies} == {"not-audited"}


def test_a_second_audit_takes_the_place_of_the_first(release: Release, database: Path, signers: Signers) -> None:
    release.check(AUDIT, "--osv-db", database)
    with serving({}) as service:
        status, _ = release.check(AUDIT, "--service-url", service.url)
    assert status == 0
    assert release.audit(signers).scanner.result == ()


def test_attest_audit_endorse_certify_is_the_order(release: Release, database: Path, signers: Signers) -> None:
    release.check(AUDIT, "--osv-db", database)
    release.sign("endorse")
    release.sign("certify", "--yes", "--tier", "core", "--expires", "2099-01-01", *release.known("owner"))
    assert set(release.review(signers).statements) == {SBOM, VULNERABILITIES, MANIFEST, CERTIFICATION}

    # A later audit stands for the one that was certified; a checklist does not, and that is said.
    status, output = release.check(AUDIT, "--osv-db", database, *release.known("owner", "certifier"))
    assert (status, output.value["certification_removed"]) == (1, False)
    assert set(release.review(signers).statements) == {SBOM, VULNERABILITIES, MANIFEST, CERTIFICATION}


def test_an_audit_that_no_certifier_ever_saw_takes_the_certification_out(
    release: Release, database: Path, signers: Signers
) -> None:
    release.sign("endorse")
    release.sign("certify", "--yes", "--tier", "core", "--expires", "2099-01-01", *release.known("owner"))
    status, output = release.check(AUDIT, "--osv-db", database, *release.known("owner", "certifier"))
    assert (status, output.value["certification_removed"]) == (1, True)
    assert any("have it certified again" in line for line in output.lines)
    assert set(release.review(signers).statements) == {SBOM, VULNERABILITIES, MANIFEST}


def test_who_signs_next_sees_what_was_found_and_what_nobody_knows(release: Release, database: Path) -> None:
    shown = release.sign("endorse")
    assert "  vulnerable     unknown: there is no audit of vulnerabilities" in shown
    assert "  checked        unknown: there is no release checklist" in shown
    release.check(AUDIT, "--osv-db", database, *release.known("owner"))
    shown = release.sign("certify", "--yes", "--tier", "core", "--expires", "2099-01-01", *release.known("owner"))
    assert "  vulnerable     pkg:pypi/alpha@2.0: CVE-1, critical" in shown
    assert "  not audited    gamma (from the host): provided by the host, which has the version" in shown
    assert any(line.startswith("  audited        at ") and ": 1 advisories, the newest of " in line for line in shown)


def test_what_another_command_added_meanwhile_is_not_lost(
    release: Release, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit, or a checklist, takes its time; the set that it was read from may be another one then."""
    ours = release.files.read_attestations()
    assert ours is not None

    def while_others_write(*arguments: Any) -> Database:
        release.files.attestations.write_bytes(ours + b"\n")
        return read_database(*arguments)

    monkeypatch.setattr(osv, "read_database", while_others_write)
    with pytest.raises(LoadlockError) as caught:
        release.check(AUDIT, "--osv-db", database)
    assert caught.value.code == "set.changed"
    assert release.files.read_attestations() == ours + b"\n"
    release.files.attestations.unlink()
    with pytest.raises(LoadlockError) as caught:
        release.files.write_attestations(ours, ours)
    assert caught.value.code == "set.changed"
    assert not release.files.attestations.exists()
