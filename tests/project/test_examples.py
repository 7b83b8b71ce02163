"""What the documents show can be typed and read: each command takes its arguments, each example is of its language.

That examples do what is said beside them is for the tests of each guide (``tests/flow``, ``tests/verifier/hosting``)
and of each page of the specification; this one leaves no page out.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import NoReturn

import pytest

from loadlock import cli
from tests.project.tree import ROOT, tracked
from tests.verifier.formats.test_spec import unabridged

COMMANDS = {command.name: command for _, several in cli._packages() for command in several}
FAMILIES = {name.split()[0] for name in COMMANDS if " " in name}
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in tracked()
    if path.suffix == ".md" and path.relative_to(ROOT).parts[:2] != ("docs", "adr") and path.name != "CHANGELOG.md"
}
SHELL, COMMON = ("sh", "console"), ("--json", "--debug", "--deployment", "--events", "--help")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Each example in these languages, with its page."""
    return [(page, text) for page, shown in PAGES.items() for kind, text in BLOCK.findall(shown) if kind in languages]


def typed() -> list[tuple[str, str]]:
    """Each line of the examples that runs loadlock, without what stands before it."""
    lines = [(page, line) for page, text in blocks(*SHELL) for line in text.replace("\\\n", " ").splitlines()]
    found = [(page, re.search(r"^(?:\$ )?\s*(?:[A-Z_]+=\S+ )*(loadlock .*)", line)) for page, line in lines]
    return sorted({(page, match[1]) for page, match in found if match})


def mentioned() -> list[tuple[str, str]]:
    """Each command with a name of its own in running text."""
    texts = {page: BLOCK.sub("", text) for page, text in PAGES.items()}
    return sorted(
        {
            (page, " ".join(said.split()))
            for page, text in texts.items()
            for said in re.findall(r"`(loadlock [^`]+)`", text)
        }
    )


def parser_of(words: list[str]) -> tuple[_Parser, list[str]]:
    """The parser of the command that the words begin with, and the words after it."""
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
    parser = _Parser(prog=name)
    for option in ("--deployment", "--events"):
        parser.add_argument(option)
    for option in ("--json", "--debug"):
        parser.add_argument(option, action="store_true")
    COMMANDS[name].configure(parser)
    return parser, words[len(name.split()) :]


@pytest.mark.parametrize(("page", "line"), typed())
def test_every_command_that_is_shown_takes_its_arguments(page: str, line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    if words == ["--help"]:
        return
    parser, rest = parser_of([word for word in words if word != "…"])
    parser.parse_args(rest)


@pytest.mark.parametrize(("page", "said"), mentioned())
def test_every_command_that_is_mentioned_is_one(page: str, said: str) -> None:
    _, *words = [word.strip("[]…") for word in said.split()]
    if len(words) == 1 and words[0] in FAMILIES | {"--help"}:
        return
    for name in words[1].split("|") if len(words) > 1 and words[0] in FAMILIES else [""]:
        parser, rest = parser_of([words[0], name, *words[2:]] if name else words)
        known = {option for action in parser._actions for option in action.option_strings}
        options = {word.split("=")[0] for word in rest if word.startswith("--") and word != "--"}
        assert options <= known | set(COMMON), said


def test_every_example_says_its_language() -> None:
    plain = {(page, text.splitlines()[0]) for page, text in blocks("")}
    assert {line for _, line in plain if re.match(r"(\$ )?loadlock |[{]|from |import ", line)} == set()


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_every_example_in_python_can_be_compiled(page: str, text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_every_example_in_toml_can_be_read(page: str, text: str) -> None:
    assert tomllib.loads(text)


@pytest.mark.parametrize(("page", "text"), blocks("json"))
def test_every_example_in_json_can_be_read(page: str, text: str) -> None:
    json.loads(unabridged(text))


def test_every_page_of_commands_is_played() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    guides = {page for page, _ in blocks(*SHELL) if page.startswith("docs/guides/") and "/runbooks/" not in page}
    assert {page for page in guides if f'"{Path(page).name}"' not in tests} - UNPLAYED.keys() == set()


UNPLAYED = {
    "docs/guides/ci.md": "needs a package index and a CI system; tests/ci_templates hold what the templates do",
    "docs/guides/keys.md": "tests/attestor/test_key_services.py signs with a real token in this way",
}
"""Guides whose commands no test runs in a row, and why."""
