"""What the documents say of the project is so: links, folders, commands, exit statuses, targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadlock import cli
from tests.project.tree import ROOT, tracked
from verifier import errors

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)")
DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]


def rows(heading: str) -> dict[str, str]:
    """The first two columns of the README's table under a header row that starts with ``heading``."""
    table = README.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first.strip("`"): second for first, second, *_ in cells}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    links: list[str] = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def anchors(path: Path) -> set[str]:
    """What a page's headings are called in links, as GitHub and GitLab make it of their words."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    words = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in words}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_heading_finds_it(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]*\.md|)#([^)\s]+)\)", path.read_text(encoding="utf-8"))
    assert [(page, name) for page, name in links if name not in anchors(path.parent / page if page else path)] == []


def test_every_benchmark_and_every_result_is_listed() -> None:
    folder = ROOT / "benchmarks"
    text = (folder / "README.md").read_text(encoding="utf-8")
    results = {path.name for path in (folder / "results").glob("*.md")}
    assert set(re.findall(r"\]\(results/([a-z]+\.md)\)", text)) == results
    assert {f"{name}.md" for name in re.findall(r"-m benchmarks\.([a-z]+) --write", text)} == results


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_row_of_a_table_has_a_cell_for_each_column(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, table.splitlines()[0]


def test_every_folder_is_in_the_readme() -> None:
    folders = {path.relative_to(ROOT).parts[0] + "/" for path in tracked() if path.parent != ROOT}
    assert folders == set(rows("folder"))


def test_every_command_is_listed_once() -> None:
    commands = [f"loadlock {command.name}" for _, several in cli._packages() for command in several]
    listed = re.findall(r"^\| `(loadlock [^`]+)` \|", (ROOT / "docs" / "commands.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(commands) == sorted(listed)


def test_every_exit_status_is_in_the_readme() -> None:
    kinds = [errors.Refused, errors.UsageError, errors.Unreachable, errors.PluginFailed]
    assert {"0"} | {str(kind.exit_status) for kind in kinds} == set(rows("exit status"))


def test_every_decision_record_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in folder.glob("[0-9]*.md")} == listed - {"NNNN"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_named_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
    assert {first or second for first, second in named} <= targets
