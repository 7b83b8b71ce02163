"""The GitLab template is run for real: each job in a shell of its own, a real server, and what comes out verifies.

gitlab-ci-local stands in for GitLab and its runner: it reads the template, expands it, gives each job the variables of
its environment and the artifacts of the jobs it needs, and runs its script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attestor.signing.signers import load_signer, public_pem
from loadlock.stage import Stage, example_plugin
from tests.attestor.advisories import advisory, write
from tests.ci_templates.locks import locks_and_wheels
from tests.ci_templates.templates import GITLAB, JOBS
from tests.node.tools import node_tools
from verifier.formats.statement import TEST_RESULT, VULNERABILITIES

WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"
# What GitLab says of a pipeline for a protected tag.
TAGGED = {"CI_COMMIT_TAG": "v1.0.0", "CI_COMMIT_REF_PROTECTED": "true", "CI_RUNNER_ID": "17"}
SIGNING = ("attest", "endorse", "certify")
APPROVED = ("--manual", "loadlock-endorse", "--manual", "loadlock-certify")


@dataclass(frozen=True)
class Project:
    """A project on GitLab as far as its jobs see it, and the deployment that it publishes to."""

    stage: Stage
    source: Path
    variables: Path
    environ: dict[str, str]

    def run(self, *options: str, tagged: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the pipeline, each job in a copy of the commit."""
        # GitLab's address of the repository is one that its runner can clone from: here, this directory.
        told = (TAGGED if tagged is None else tagged) | {"CI_REPOSITORY_URL": self.source.as_uri()}
        said = [word for name, value in told.items() for word in ("--variable", f"{name}={value}")]
        command = [
            *node_tools().command("gitlab-ci-local/dist/index.js"), "--variables-file",
            os.path.relpath(self.variables, self.source), "--home", str(self.stage.root / "home"),
            "--force-shell-executor", "--shell-isolation",
            "--no-artifacts-to-source", "--color=false", "--ignore-predefined-vars", ",".join(told), *said, *options,
        ]  # fmt: skip
        return subprocess.run(command, cwd=self.source, env=self.environ, capture_output=True, text=True)

    def artifacts(self, job: str) -> Path:
        """What a job handed on."""
        return self.source / ".gitlab-ci-local" / "artifacts" / f"loadlock-{job}" / "dist"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, build_wheels: Path) -> Iterator[Project]:
    missing = [program for program in ("npm", "rsync") if shutil.which(program) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"tools/system_packages.sh could not install {missing}")
    root = tmp_path_factory.mktemp("gitlab").resolve()
    stage = Stage(root)
    stage.run("init", stage.operator, "--id", "acme", "--profile", "demo", "--server", stage.url)
    roles = ("--builder", "builder", "--owner", "owner", "--certifier", "certifier")
    stage.run("trust", "add-plugin", "csv_exporter", *roles, deployment=stage.operator)
    token = stage.run("token", "create", "ci", "--role", "publisher", deployment=stage.operator)["token"]

    example = root / "example"
    shutil.copytree(example_plugin(), example)
    house = locks_and_wheels(example / "ci", root / "house")
    shutil.copyfile(GITLAB, example / "ci" / GITLAB.name)
    (example / "ci" / "waivers.toml").write_text(
        '[[waiver]]\ncheck = "egress-tests"\nwaives = "not-run"\nreason = "The plugin declares no egress."\n'
        f'expires = "{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}"\n'
    )
    (example / ".gitignore").write_text("/.gitlab-ci-local/\n")
    source = stage.repository(example, "csv-exporter")
    _as_cloned(source)

    advisories = write(root / "advisories", {"X-1.json": advisory(modified=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")})
    variables = root / "variables.yml"
    variables.write_text(json.dumps(_variables(stage, token, example / "ci", house, build_wheels, advisories)))
    (root / "bin").mkdir()
    # Of this environment only Python and its pip: each job has to install the Loadlock that it runs.
    python = root / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = f"{root / 'bin'}:{os.environ['PATH']}"
    (root / "tmp").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOADLOCK", "PIP_", "PYTHON"))}
    stage.start_server()
    try:
        yield Project(stage, source, variables, kept | {"PATH": path, "TMPDIR": str(root / "tmp")})
    finally:
        stage.stop_server()


@pytest.fixture(scope="module")
def released(project: Project) -> Project:
    """The project after a release: the tag pushed, both approvals given."""
    done = project.run(*APPROVED)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def _as_cloned(source: Path) -> None:
    """What gitlab-ci-local asks git for: the remote, and its default branch."""
    (source / ".gitlab-ci.yml").write_text(f"include:\n  - local: ci/{GITLAB.name}\n")
    author = ("-c", "user.name=Alice", "-c", "user.email=alice@host.example", "-c", "commit.gpgsign=false")
    for words in (
        ("add", ".gitlab-ci.yml"), (*author, "commit", "--quiet", "--message", "Release with Loadlock"),
        ("remote", "add", "origin", "https://host.example/reporting/csv-exporter.git"),
        ("update-ref", "refs/remotes/origin/main", "HEAD"),
        ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"),
        ("tag", TAGGED["CI_COMMIT_TAG"]),
    ):  # fmt: skip
        subprocess.run(["git", *words], cwd=source, check=True, capture_output=True)


def _variables(stage: Stage, token: str, ci: Path, house: Path, build_wheels: Path, advisories: Path) -> dict[str, Any]:
    """The project's variables, each for the environments that the guide gives it to."""
    builder, owner, certifier = (
        stage.operator / "principals" / f"{role}.pem" for role in ("builder", "owner", "certifier")
    )
    build_lock, sign_lock = (
        hashlib.sha256((ci / f"loadlock-{kind}.lock").read_bytes()).hexdigest() for kind in ("build", "sign")
    )
    signing = ("loadlock-endorse", "loadlock-certify", "loadlock-publish")
    given: list[tuple[str, str, str, tuple[str, ...]]] = [
        ("LOADLOCK_IMAGE", "variable", "python@sha256:" + "0" * 64, ("*",)),
        ("LOADLOCK_BUILDER_KEY", "file", builder.read_text(), ("loadlock-build",)),
        ("LOADLOCK_OWNER_KEY", "file", owner.read_text(), ("loadlock-endorse",)),
        ("LOADLOCK_CERTIFIER_KEY", "file", certifier.read_text(), ("loadlock-certify",)),
        ("LOADLOCK_BUILDER_PUBLIC_KEY", "file", _public(builder), ("loadlock-rebuild", *signing[:2])),
        ("LOADLOCK_OWNER_PUBLIC_KEY", "file", _public(owner), signing[1:2]),
        ("LOADLOCK_TIER", "variable", "core", signing[1:2]),
        ("LOADLOCK_CERTIFY_DAYS", "variable", "90", signing[1:2]),
        ("LOADLOCK_SERVER", "variable", stage.url, signing[2:]),
        ("LOADLOCK_PUBLISH_TOKEN", "file", token, signing[2:]),
        # Nothing beyond loopback is connected to: the guide's settings for a closed network.
        ("LOADLOCK_BUILD_WHEELHOUSE", "variable", str(build_wheels), ("loadlock-build", "loadlock-rebuild")),
        ("LOADLOCK_OSV_DB", "variable", str(advisories), ("loadlock-build",)),
        ("LOADLOCK_WAIVERS", "variable", "ci/waivers.toml", ("loadlock-build",)),
        ("PIP_NO_INDEX", "variable", "1", ("*",)),
        ("PIP_FIND_LINKS", "variable", str(house), ("*",)),
        ("PIP_NO_COMPILE", "variable", "1", ("*",)),
    ]
    variables = {name: {"type": kind, "values": dict.fromkeys(places, value)} for name, kind, value, places in given}
    digests = dict.fromkeys(("loadlock-build", "loadlock-rebuild"), build_lock) | dict.fromkeys(signing, sign_lock)
    return variables | {"LOADLOCK_LOCK_SHA256": {"type": "variable", "values": digests}}


def _public(key: Path) -> str:
    return public_pem(load_signer(key).public_key).decode()


def listed(project: Project, told: dict[str, str]) -> dict[str, str]:
    """Job name to when it would run."""
    rows = project.run("--list-csv-all", tagged=told).stdout.splitlines()
    cells = [row.split(";") for row in rows if row.startswith("loadlock-")]  # name;stage;when;…
    return {row[0].removeprefix("loadlock-"): row[2] for row in cells}


def test_without_a_protected_tag_no_job_exists(project: Project) -> None:
    for told in (
        {},
        {"CI_COMMIT_REF_PROTECTED": "true"},
        {"CI_COMMIT_TAG": "v1.0.0", "CI_COMMIT_REF_PROTECTED": "false"},
        {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_REF_PROTECTED": "true"},
    ):
        assert listed(project, told) == dict.fromkeys(JOBS, "never"), told


def test_without_approvals_only_the_builder_signs(project: Project) -> None:
    assert listed(project, TAGGED) == {
        "attest": "on_success",
        "rebuild": "on_success",
        "endorse": "manual",
        "certify": "manual",
        "publish": "on_success",
    }


def test_a_lock_that_is_not_the_known_one_installs_nothing(project: Project) -> None:
    variables = json.loads(project.variables.read_text())
    variables["LOADLOCK_LOCK_SHA256"]["values"]["loadlock-build"] = "0" * 64
    changed = project.variables.with_name("changed.yml")
    changed.write_text(json.dumps(variables))
    done = Project(project.stage, project.source, changed, project.environ).run("loadlock-attest")
    assert done.returncode != 0
    assert "ci/loadlock-build.lock: FAILED" in done.stdout + done.stderr
    assert not project.artifacts("attest").exists()


def test_the_release_verifies_on_a_host(released: Project) -> None:
    stage = released.stage
    root = stage.run("trust", "policy", deployment=stage.operator)["root"]
    stage.run("host", "enroll", stage.url, "--root", root, deployment=stage.host)
    result = stage.run("verify", released.artifacts("certify") / WHEEL, deployment=stage.host)
    assert result["ok"] is True


def test_the_builder_has_audited_and_checked_and_somebody_else_has_rebuilt(released: Project) -> None:
    lines = (released.artifacts("attest") / f"{WHEEL}.attestations.jsonl").read_text().splitlines()
    payloads = [json.loads(base64.b64decode(json.loads(line)["dsseEnvelope"]["payload"])) for line in lines]
    predicates = {payload["predicateType"]: payload["predicate"] for payload in payloads}
    assert VULNERABILITIES in predicates
    assert predicates[TEST_RESULT]["result"] == "WARNED"
    assert predicates[TEST_RESULT]["warnedTests"] == ["egress-tests"]
    log = (released.source / ".gitlab-ci-local" / "output" / "loadlock-rebuild.log").read_text()
    assert re.search(r"^verdict +bit-identical$", log, re.MULTILINE)


def test_the_server_has_admitted_it(released: Project) -> None:
    digest = hashlib.sha256((released.artifacts("certify") / WHEEL).read_bytes()).hexdigest()
    assert (released.stage.operator / "public" / "sets" / f"{digest}.jsonl").is_file()


def test_each_job_adds_its_signature_and_no_other(released: Project) -> None:
    keys = {}
    for job in SIGNING:
        lines = (released.artifacts(job) / f"{WHEEL}.attestations.jsonl").read_text().splitlines()
        keys[job] = {json.loads(line)["verificationMaterial"]["publicKey"]["hint"] for line in lines}
    principals = released.stage.operator / "principals"
    builder, owner, certifier = (
        load_signer(principals / f"{role}.pem").public_key.hint for role in ("builder", "owner", "certifier")
    )
    assert keys == {"attest": {builder}, "endorse": {builder, owner}, "certify": {builder, owner, certifier}}


def test_the_unsigned_manifest_is_handed_to_the_owner_and_no_further(released: Project) -> None:
    left = {job: (released.artifacts(job) / f"{WHEEL}.manifest.unsigned.json").exists() for job in SIGNING}
    assert left == {"attest": True, "endorse": False, "certify": False}


def test_no_private_key_and_no_token_is_left_behind_or_printed(released: Project) -> None:
    state = released.source / ".gitlab-ci-local"
    secrets = [
        *(path.read_text().splitlines()[1] for path in (released.stage.operator / "principals").glob("*.pem")),
        json.loads(released.variables.read_text())["LOADLOCK_PUBLISH_TOKEN"]["values"]["loadlock-publish"],
    ]
    assert len(secrets) == 4
    for path in (path for path in state.rglob("*") if path.is_file()):
        text = path.read_bytes().decode("utf-8", "replace")
        assert not [secret for secret in secrets if secret in text], path
    # Each job's own scratch directory is gone.
    assert list((released.stage.root / "tmp").glob("tmp.*")) == []


def test_the_provenance_names_the_run(released: Project) -> None:
    unsigned = json.loads((released.artifacts("attest") / f"{WHEEL}.manifest.unsigned.json").read_text())
    built_by = unsigned["predicate"]["built_by"]
    assert re.fullmatch(r"https://host\.example/reporting/csv-exporter/-/runners/17", built_by)
