"""The templates as the tests look at them: parsed, and by the words of their shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.project.tree import ROOT

TEMPLATES = ROOT / "ci-templates"
WORKFLOW = TEMPLATES / "github" / "loadlock.yml"
CALLER = TEMPLATES / "github" / "release.yml"
ACTION = TEMPLATES / "github" / "action" / "action.yml"
GITLAB = TEMPLATES / "gitlab" / "loadlock.gitlab-ci.yml"
AZURE = TEMPLATES / "azure" / "loadlock.azure-pipelines.yml"
AZURE_INSTALL = TEMPLATES / "azure" / "install.yml"
JENKINS = TEMPLATES / "jenkins" / "Jenkinsfile"

#: The file of each system that has the jobs.
PIPELINES = {"github": WORKFLOW, "gitlab": GITLAB, "azure": AZURE, "jenkins": JENKINS}
JOBS = ("attest", "rebuild", "endorse", "certify", "publish")
#: What the jobs run, in order.
COMMANDS = ("attest", "check vulnerabilities", "check release", "rebuild", "endorse", "certify", "publish")
#: Each job's secret, as every template names it; rebuilding needs none.
SECRETS = {
    "attest": "LOADLOCK_BUILDER_KEY",
    "endorse": "LOADLOCK_OWNER_KEY",
    "certify": "LOADLOCK_CERTIFIER_KEY",
    "publish": "LOADLOCK_PUBLISH_TOKEN",
}


def load(path: Path) -> Any:
    """A YAML file; the key ``on`` of GitHub's is True there (YAML 1.1)."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def shells(path: Path) -> list[str]:
    """Every piece of shell in a template."""
    if path == JENKINS:
        # In Groovy's ''' a backslash is written twice.
        return [text.replace("\\\\", "\\") for text in re.findall(r"'''(.*?)'''", path.read_text("utf-8"), re.DOTALL)]
    return list(_shells(load(path)))


def _shells(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _shells(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _shells(inner, key)
    elif key in {"run", "bash", "script", "before_script"}:
        yield value


def without_comments(path: Path) -> str:
    """A template's text without whole-line comments, so that explaining a thing is not doing it."""
    mark = "//" if path == JENKINS else "#"
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith((mark, "#")))


def job_texts(system: str) -> dict[str, str]:
    """Job name to the text of that job in its template, comments left out."""
    heads = {
        "github": r"^  (attest|rebuild|endorse|certify|publish):$",
        "gitlab": r"^loadlock-(attest|rebuild|endorse|certify|publish):$",
        "azure": r"^  - stage: (attest|rebuild|endorse|certify|publish)$",
        "jenkins": r"^        stage\('(Attest|Rebuild|Endorse|Certify|Publish)'\) \{$",
    }
    parts = re.split(heads[system], without_comments(PIPELINES[system]), flags=re.MULTILINE)
    return {name.lower(): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def commands(path: Path) -> Iterator[str]:
    """Each ``loadlock …`` of a template's shell, continued lines joined."""
    for shell in shells(path):
        for match in re.finditer(r"^\s*(loadlock (?:[^\n]*\\\n)*[^\n]*)$", shell, re.MULTILINE):
            yield match[1].replace("\\\n", " ")
