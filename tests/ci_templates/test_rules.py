"""What all templates promise: one secret a job, none on a command line, nothing signed for a pull request, pins."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.ci_templates.templates import (
    ACTION,
    AZURE,
    AZURE_INSTALL,
    CALLER,
    GITLAB,
    JENKINS,
    JOBS,
    PIPELINES,
    SECRETS,
    TEMPLATES,
    WORKFLOW,
    commands,
    job_texts,
    load,
    shells,
    without_comments,
)  # fmt: skip

# Where each system's installation stands, and how its shell names the lock's digest.
INSTALLS = {"github": ACTION, "gitlab": GITLAB, "azure": AZURE_INSTALL, "jenkins": JENKINS}


@pytest.mark.parametrize("system", PIPELINES)
def test_each_secret_is_in_its_own_job_alone(system: str) -> None:
    texts = job_texts(system)
    assert tuple(texts) == JOBS
    found = {job: {name for name in SECRETS.values() if re.search(rf"\b{name}\b", text)} for job, text in texts.items()}
    assert found == {job: {SECRETS[job]} if job in SECRETS else set() for job in JOBS}


def test_each_job_waits_for_those_before_it() -> None:
    before = {
        "rebuild": {"attest"}, "endorse": {"attest", "rebuild"}, "certify": {"endorse"}, "publish": {"certify"},
    }  # fmt: skip
    gitlab, stages = load(GITLAB), {stage["stage"]: stage for stage in load(AZURE)["stages"]}
    for job, waits_for in before.items():
        assert named(load(WORKFLOW)["jobs"][job]["needs"]) == waits_for
        assert named(stages[job]["dependsOn"]) == waits_for
        needs = gitlab[f"loadlock-{job}"]["needs"]
        assert {need["job"] if isinstance(need, dict) else need for need in needs} == {
            f"loadlock-{name}" for name in waits_for
        }
    # Jenkins' stages are one after another; tests/ci_templates/test_jenkins.py holds their order.


def named(given: str | list[str]) -> set[str]:
    """One name, or a list of them."""
    return {given} if isinstance(given, str) else set(given)


@pytest.mark.parametrize("system", ["github", "gitlab", "azure"])
def test_each_job_has_an_environment_of_its_own(system: str) -> None:
    pattern = r"environment:\n    name: (\S+)" if system == "gitlab" else r"environment: (\S+)"
    names = [re.findall(pattern, text) for text in job_texts(system).values()]
    assert names == [[f"loadlock-{job}"] for job in ("build", *JOBS[1:])]


def test_jenkins_binds_each_private_credential_in_one_stage() -> None:
    private = r"credentialsId: '(loadlock-(?!builder-pub|owner-pub)[\w-]+)'"
    bound = {job: re.findall(private, text) for job, text in job_texts("jenkins").items()}
    assert bound == {
        "attest": ["loadlock-builder-key"], "rebuild": [], "endorse": ["loadlock-owner-key"],
        "certify": ["loadlock-certifier-key"], "publish": ["loadlock-publish-token"],
    }  # fmt: skip


def test_a_person_starts_endorsing_and_certifying() -> None:
    gitlab = load(GITLAB)
    for job in ("endorse", "certify"):
        (rule,) = gitlab[f"loadlock-{job}"]["rules"]
        assert rule["when"] == "manual"
        assert rule["allow_failure"] is False
        assert re.search(r"input \{\s+message '[^']+'\s+submitter 'loadlock-\w+'\s+\}", job_texts("jenkins")[job])


def test_nothing_starts_for_a_pull_request() -> None:
    for job in load(WORKFLOW)["jobs"].values():
        assert job["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
    assert load(CALLER)[True] == {"push": {"tags": ["v*"]}}
    for name, job in load(GITLAB).items():
        if not name.startswith("."):
            assert [rule["if"] for rule in job["rules"]] == ['$CI_COMMIT_TAG && $CI_COMMIT_REF_PROTECTED == "true"']
    azure = load(AZURE)
    assert azure["pr"] == "none"
    assert azure["trigger"] == {"branches": {"exclude": ["*"]}, "tags": {"include": ["v*"]}}
    for stage in azure["stages"]:
        assert stage["condition"].startswith(
            "and(succeeded(), startsWith(variables['Build.SourceBranch'], 'refs/tags/')"
        )
        assert "ne(variables['Build.Reason'], 'PullRequest')" in stage["condition"]
    assert all("not { changeRequest() }" in text for text in job_texts("jenkins").values())


@pytest.mark.parametrize("system", PIPELINES)
def test_no_secret_is_on_a_command_line(system: str) -> None:
    for command in commands(PIPELINES[system]):
        private = re.findall(r"--key (\S+)", command)
        assert all(re.fullmatch(r'"\$scratch/\w+\.pem"', name) for name in private)
        assert len(private) == (0 if command.startswith(("loadlock publish", "loadlock rebuild")) else 1)
    # Shell builtins and files only; a program's arguments are for all on the machine to read.
    for secret in SECRETS.values():
        for line in without_comments(PIPELINES[system]).splitlines():
            if f'"${secret}"' in line:
                assert re.match(r"\s*(printf '%s\\n' |install -m 0600 |.*--token-file )", line)


@pytest.mark.parametrize("system", PIPELINES)
def test_the_lock_is_believed_by_its_digest_alone_and_installed_by_hash(system: str) -> None:
    text = without_comments(INSTALLS[system])
    check = text.index('"$LOADLOCK_LOCK_SHA256" "$LOADLOCK_LOCK" | sha256sum --check --strict --quiet -')
    install = text.index("--require-hashes --only-binary :all: --requirement")
    assert check < text.index("python3 -I -m venv") < install
    assert not re.search(r"\bpython3 (?!-I )|/bin/python\" (?!install )", text)


@pytest.mark.parametrize("path", [path for path in sorted(TEMPLATES.rglob("*")) if path.is_file()])
def test_nothing_is_interpolated_into_a_shell(path: Path) -> None:
    found = shells(path)
    assert found or path == CALLER
    for shell in found:
        assert "${{" not in shell
        assert not re.search(r"\$\([A-Za-z_]+\.\w+\)", shell)  # Azure's macros
    if path == JENKINS:
        text = without_comments(path)
        # Each is a plain string: Groovy fills in double-quoted ones.
        assert (
            len(re.findall(r"\bsh\b", text)) == len(re.findall(r"sh install \+ '''$", text, re.MULTILINE)) == len(JOBS)
        )
        assert '"""' not in text


@pytest.mark.parametrize("path", [path for path in sorted(TEMPLATES.rglob("*")) if path.is_file()])
def test_every_shell_parses(path: Path) -> None:
    for shell in shells(path):
        subprocess.run(["bash", "-n", "-c", shell], check=True)


def test_actions_of_others_are_githubs_own_and_pinned_by_commit() -> None:
    named = re.findall(r"uses: (.*)", WORKFLOW.read_text(encoding="utf-8") + CALLER.read_text(encoding="utf-8"))
    ours = {"$/.github/actions/loadlock", "$/.github/workflows/loadlock.yml"}
    assert ours < set(named)
    for action in set(named) - ours:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_github_gives_no_permission_but_to_read_the_source() -> None:
    document = load(WORKFLOW)
    assert document["permissions"] == load(CALLER)["permissions"] == {}
    assert {tuple(job["permissions"].items()) for job in document["jobs"].values()} == {(("contents", "read"),)}


def test_what_is_handed_on_is_fetched_after_the_installation() -> None:
    for job in JOBS[1:]:
        steps = [step.get("uses", "") for step in load(WORKFLOW)["jobs"][job]["steps"]]
        fetched = next(place for place, use in enumerate(steps) if use.startswith("actions/download-artifact@"))
        assert steps.index("$/.github/actions/loadlock") < fetched
        text = job_texts("azure")[job]
        assert (
            text.index("- download: none") < text.index("- template: install.yml") < text.index("- download: current")
        )


def test_gitlab_takes_nothing_over_from_the_project() -> None:
    base = load(GITLAB)[".loadlock"]
    assert base["inherit"] == {"default": False}
    assert base["cache"] == []
    assert base["image"] == "$LOADLOCK_IMAGE"
    assert base["variables"]["GIT_STRATEGY"] == "clone"
