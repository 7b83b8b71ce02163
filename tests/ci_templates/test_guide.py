"""The guide names what the templates read, all of it and nothing else: variables, environments, credentials, agents."""

from __future__ import annotations

import re

import pytest

from tests.ci_templates.templates import AZURE, JENKINS, PIPELINES, TEMPLATES, WORKFLOW, load
from tests.project.tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "ci.md").read_text(encoding="utf-8")
# What the templates set themselves, from what a user sets.
OWN = {"LOADLOCK_LOCK"}
SYSTEMS = {"GitHub Actions": WORKFLOW, "Azure Pipelines": AZURE, "Jenkins": JENKINS}


def section(title: str) -> str:
    """The guide's text under a heading."""
    return GUIDE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_variable_of_the_templates_is_explained_and_no_other() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TEMPLATES.rglob("*") if path.is_file()]
    read = {name for text in texts for name in re.findall(r"\bLOADLOCK_[A-Z0-9_]+\b", text)}
    assert read - OWN == set(re.findall(r"\bLOADLOCK_[A-Z0-9_]+\b", GUIDE))


def test_the_environments_are_the_ones_named() -> None:
    named = {job["environment"] for job in load(WORKFLOW)["jobs"].values()}
    listed = re.search(r"Five environments: (.*?)\.", section("GitHub Actions"), re.DOTALL)
    assert listed
    assert set(re.findall(r"`([^`]+)`", listed[1])) == named


@pytest.mark.parametrize(
    ("title", "pattern"),
    [
        ("Azure Pipelines", r"secureFile: (\S+)"),
        ("Jenkins", r"credentialsId: '([^']+)'"),
        ("Jenkins", r"agent \{ label '([^']+)' \}"),
        ("Jenkins", r"submitter '([^']+)'"),
    ],
)
def test_what_a_system_is_asked_for_stands_in_its_section(title: str, pattern: str) -> None:
    asked = set(re.findall(pattern, SYSTEMS[title].read_text(encoding="utf-8")))
    assert asked
    assert asked <= set(re.findall(r"`([^`]+)`", section(title)))


def test_every_job_is_in_the_table_of_jobs_and_in_that_of_thieves() -> None:
    for table in (GUIDE.split("\n| job |", 1)[1], GUIDE.split("\n| runner of |", 1)[1]):
        rows = re.findall(r"^\| (\w+) \|", table.split("\n\n", 1)[0], re.MULTILINE)
        assert rows == ["attest", "rebuild", "endorse", "certify", "publish"]


def test_every_template_names_the_guide() -> None:
    assert (ROOT / "docs" / "guides" / "ci.md").is_file()
    for path in PIPELINES.values():
        assert "docs/guides/ci.md" in path.read_text(encoding="utf-8")
