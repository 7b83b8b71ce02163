"""The templates are what each system takes, by the system's published schema; and zizmor has nothing to say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ci_templates.templates import ACTION, AZURE, AZURE_INSTALL, CALLER, GITLAB, TEMPLATES, WORKFLOW

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
#: Each schema that check-jsonschema brings along, with the templates it is for, and a slip that it has to notice.
SCHEMAS: dict[str, dict[Path, tuple[str, str]]] = {
    "vendor.github-workflows": {
        WORKFLOW: ("    runs-on: ubuntu-24.04\n", "    run-on: ubuntu-24.04\n"),
        CALLER: ("    uses: $/.github/workflows/loadlock.yml\n", ""),
    },
    "vendor.github-actions": {ACTION: ("  using: composite\n", "  using: compost\n")},
    "vendor.gitlab-ci": {GITLAB: ("      when: manual\n", "      when: by-hand\n")},
    "vendor.azure-pipelines": {
        AZURE: ("          runOnce:\n", "          runTwice:\n"),
        AZURE_INSTALL: ("  - bash: |\n", "  - bush: |\n"),
    },
}
OPTIONS = {"vendor.azure-pipelines": ("--data-transform", "azure-pipelines", "--regex-variant", "nonunicode")}
# What zizmor has to notice: an action that a tag names, input in a shell's text, a trigger that hands out secrets, a
# token left in the clone, and all secrets handed on.
WEAKNESSES = {
    "unpinned-uses": (WORKFLOW, "@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6"),
    "template-injection": (WORKFLOW, 'loadlock attest "$LOADLOCK_SOURCE"', "loadlock attest ${{ inputs.source }}"),
    "artipacked": (WORKFLOW, "persist-credentials: false", "persist-credentials: true"),
    "excessive-permissions": (WORKFLOW, "permissions: {}", "permissions: write-all"),
    "dangerous-triggers": (CALLER, "  push:\n    tags:\n      - v*", "  pull_request_target:"),
    "secrets-inherit": (
        CALLER,
        "    secrets:\n" + CALLER.read_text(encoding="utf-8").split("    secrets:\n", 1)[-1],
        "    secrets: inherit\n",
    ),
}


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a checker of this environment."""
    return subprocess.run([BIN / tool, *arguments], capture_output=True, text=True)


def repository(place: Path) -> Path:
    """A repository's ``.github`` as the guide says to make it."""
    for source, target in {
        WORKFLOW: "workflows/loadlock.yml", CALLER: "workflows/release.yml", ACTION: "actions/loadlock/action.yml",
    }.items():  # fmt: skip
        (place / ".github" / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place / ".github" / target)
    return place


def zizmor(place: Path) -> subprocess.CompletedProcess[str]:
    """Audit a repository with everything that zizmor knows without a connection."""
    return run(
        "zizmor", "--offline", "--no-progress", "--no-config", "--persona", "auditor", "--format", "plain", place
    )


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_is_what_its_system_takes_and_a_slip_is_not(schema: str, tmp_path: Path) -> None:
    slipped = []
    for path, (right, wrong) in SCHEMAS[schema].items():
        text = path.read_text(encoding="utf-8")
        assert right in text
        slipped.append(tmp_path / path.name)
        slipped[-1].write_text(text.replace(right, wrong, 1), encoding="utf-8")
    options = ("--output-format", "json", "--builtin-schema", schema, *OPTIONS.get(schema, ()))
    done = run("check-jsonschema", *options, *SCHEMAS[schema], *slipped)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["parse_errors"] == []
    assert {Path(error["filename"]) for error in found["errors"]} == set(slipped), found["errors"]


@pytest.mark.parametrize("audit", WEAKNESSES)
def test_zizmor_notices_a_weakness(audit: str, tmp_path: Path) -> None:
    path, right, wrong = WEAKNESSES[audit]
    workflow = repository(tmp_path) / ".github" / "workflows" / path.name
    text = workflow.read_text(encoding="utf-8")
    assert right in text
    workflow.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    done = zizmor(tmp_path)
    assert done.returncode != 0
    assert f"[{audit}]" in done.stdout


def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    done = zizmor(repository(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout


def test_yamllint_finds_nothing() -> None:
    done = run("yamllint", "--strict", "--config-file", HERE / "yamllint.yaml", TEMPLATES)
    assert done.returncode == 0, done.stdout


def test_every_yaml_file_is_held_against_a_schema() -> None:
    assert set(TEMPLATES.rglob("*.yml")) == {path for paths in SCHEMAS.values() for path in paths}
