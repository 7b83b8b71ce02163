"""The release checklist as a whole: of exactly the source that was built, waived only as far as waivers go, signed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from attestor.checking.amend import Subject, open_subject
from attestor.checking.checks import Checked, Options, check_release
from attestor.checking.review import review
from attestor.checking.waivers import read_waivers
from attestor.commands.places import WheelFiles
from attestor.pipeline import Attestation, attest_wheel
from attestor.pipeline import Options as AttestOptions
from tests.attestor import test_cli
from tests.attestor.conftest import EXAMPLE, NOW, Signers, git
from tests.attestor.test_check_cli import Release
from tests.wheels import build_wheel
from verifier.errors import LoadlockError
from verifier.formats.findings import CHECKS, TestResult, parse_test_result
from verifier.formats.statement import TEST_RESULT
from verifier.formats.strict_json import dumps

elsewhere = test_cli.elsewhere

WAIVER = """
[[waiver]]
check = "egress-tests"
waives = "not-run"
reason = "The plugin declares no egress."
expires = "2099-12-31T00:00:00Z"
"""


@pytest.fixture
def subject(attested: Attestation, signers: Signers) -> Subject:
    keys: Any = {"builder": [signers.builder.public_key]}
    return open_subject(attested.wheel, attested.file_name, attested.attestations, attested.unsigned, keys)


@pytest.fixture
def waivers(tmp_path: Path) -> Path:
    (tmp_path / "waivers.toml").write_text(WAIVER)
    return tmp_path / "waivers.toml"


def checked(subject: Subject, source: Path) -> Checked:
    done = check_release(subject, source, Options(sys.executable), now=NOW)
    assert parse_test_result(dumps(done.predicate)) == done.predicate
    return done


def code_of(subject: Subject, source: Path) -> str:
    with pytest.raises(LoadlockError) as caught:
        checked(subject, source)
    return caught.value.code


# -- refused -----------------------------------------------------------------------------------------------------------


def test_another_source_than_the_wheels_is_not_checked(subject: Subject, repository: Path) -> None:
    (repository / "README.md").write_text("Changed.\n")
    assert code_of(subject, repository) == "source.dirty"
    git(repository, "commit", "--quiet", "--all", "--message=second")
    assert code_of(subject, repository) == "provenance.source"
    assert code_of(subject, repository / "src") == "provenance.source"


def test_another_project_of_the_same_commit_is_not_checked(subject: Subject, repository: Path) -> None:
    assert code_of(subject, repository / "src") == "provenance.source"


# -- checked -----------------------------------------------------------------------------------------------------------


def test_a_wheel_built_elsewhere_is_checked_against_the_source_that_is_named(
    repository: Path, signers: Signers, tmp_path: Path
) -> None:
    wheel = build_wheel({"csv_exporter.py": "x = 1\n"}, name="csv-exporter", version="1.0.0")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    options = AttestOptions(manifest=EXAMPLE / "PLUGIN_MANIFEST.json")
    made = attest_wheel(tmp_path / wheel.file_name, options, signers.builder, now=NOW)
    keys: Any = {"builder": [signers.builder.public_key]}
    subject = open_subject(made.wheel, made.file_name, made.attestations, made.unsigned, keys)
    done = checked(subject, repository)
    assert done.predicate.configuration[0].digest["gitCommit"] == git(repository, "rev-parse", "HEAD")
    # Its tests are those of another package: the wheel's module is what they meet, and it is not what they expect.
    assert "tests" in done.predicate.failedTests
    assert "licences" in done.predicate.failedTests


def test_a_file_that_is_kept_out_of_the_export_is_found(repository: Path, signers: Signers, tmp_path: Path) -> None:
    (repository / "deploy").mkdir()
    (repository / "deploy" / "key.txt").write_text("AKIA" + "QWERTYUIOPASDFGH")
    (repository / ".gitattributes").write_text("deploy/** export-ignore\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=second")
    wheel = build_wheel({"csv_exporter.py": "x = 1\n"}, name="csv-exporter", version="1.0.0")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    options = AttestOptions(manifest=EXAMPLE / "PLUGIN_MANIFEST.json")
    made = attest_wheel(tmp_path / wheel.file_name, options, signers.builder, now=NOW)
    keys: Any = {"builder": [signers.builder.public_key]}
    subject = open_subject(made.wheel, made.file_name, made.attestations, made.unsigned, keys)
    done = checked(subject, repository)
    (secrets,) = [found for found in done.found if found.check.name == "secrets"]
    assert (secrets.check.result, secrets.check.findings) == ("failed", 1)
    assert secrets.shown == ("deploy/key.txt is kept out of the export by attributes, and was not scanned",)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def release(attested: Attestation, signers: Signers, tmp_path: Path) -> Release:
    files = WheelFiles(tmp_path / "dist" / attested.file_name)
    files.wheel.parent.mkdir()
    files.wheel.write_bytes(attested.wheel)
    files.attestations.write_bytes(attested.attestations)
    files.unsigned.write_bytes(attested.unsigned)
    return Release(files, signers.place)


CHECK = "check release"


def test_wrong_arguments_are_refused(release: Release, repository: Path) -> None:
    assert release.refused(CHECK) == "usage.arguments"
    assert release.refused(CHECK, "--source", repository, "--licence", "Whatever") == "usage.arguments"
    assert release.refused(CHECK, "--source", repository, "--egress-tests=-x") == "usage.arguments"
    assert release.refused(CHECK, "--source", repository, "--waivers", "absent") == "io.failed"


def test_what_did_not_run_stops_the_release_and_is_signed(
    release: Release, repository: Path, signers: Signers, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output = release.check(CHECK, "--source", repository, "--annotations", "plain")
    assert (status, output.value["ok"]) == (1, False)
    assert capsys.readouterr().err == (
        "pyproject.toml:1: error: egress-tests: no test that is marked 'egress' ran [egress-tests]\n"
    )
    assert output.lines[-1].startswith("not to be released")
    assert any(line.startswith("egress-tests        not-run") for line in output.lines)
    done = signed(release, signers)
    assert {check.name: check.result for check in done.checklist.checks} == {
        **dict.fromkeys(CHECKS, "passed"), "egress-tests": "not-run",
    }  # fmt: skip
    assert (done.result, done.failedTests) == ("FAILED", ("egress-tests",))


def test_a_waiver_in_force_lets_it_pass_and_stands_in_the_statement(
    release: Release, repository: Path, waivers: Path, signers: Signers, attested: Attestation
) -> None:
    told = release.place / "waived.sarif"
    status, output = release.check(CHECK, "--source", repository, "--waivers", waivers, "--sarif", told)
    (remark,) = json.loads(told.read_bytes())["runs"][0]["results"]
    assert (remark["level"], remark["message"]["text"]) == (
        "warning", "egress-tests: no test that is marked 'egress' ran (waived until 2099-12-31T00:00:00Z)",
    )  # fmt: skip
    assert (status, output.value["ok"]) == (0, True)
    assert "  waived until 2099-12-31T00:00:00Z: The plugin declares no egress." in output.lines
    done = signed(release, signers)
    assert (done.result, done.warnedTests) == ("WARNED", ("egress-tests",))
    (waived,) = [check for check in done.checklist.checks if check.waiver]
    assert waived.waiver is not None
    assert (waived.waiver.reason, waived.reason) == (
        "The plugin declares no egress.", "no test that is marked 'egress' ran",
    )  # fmt: skip
    source, licences, used = done.configuration
    assert source.digest == {
        "gitCommit": attested.manifest.source.commit, "gitTree": git(repository, "rev-parse", "HEAD^{tree}"),
    }  # fmt: skip
    assert "MIT" in licences.annotations["allowed"]
    assert used.digest == {"sha256": read_waivers(waivers).sha256}
    shown = release.sign("endorse")
    reason = "no test that is marked 'egress' ran; until 2099-12-31T00:00:00Z: The plugin declares no egress."
    assert f"                 egress-tests waived; {reason}" in shown


def signed(release: Release, signers: Signers) -> TestResult:
    found = review(
        release.files.read_wheel(), release.files.wheel.name, release.files.read_attestations(),
        {"builder": [signers.builder.public_key]},
    )  # fmt: skip
    return parse_test_result(found.require(TEST_RESULT).statement.predicate)
