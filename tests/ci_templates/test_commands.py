"""Every ``loadlock`` of the templates is a command line that the real parsers take, expanded by a real shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from loadlock.cli import _find, _parser_of
from tests.ci_templates.templates import COMMANDS, PIPELINES, TEMPLATES, commands
from verifier.errors import UsageError

# What variables hold where only certain words are allowed; all others hold a word.
VALUES = {"LOADLOCK_TIER": "core", "expires": "2027-01-31"}
EVERY = [(path, command) for path in sorted(TEMPLATES.rglob("*")) if path.is_file() for command in commands(path)]


def expanded(command: str) -> list[str]:
    """The words that a shell would give to ``loadlock``."""
    environ = {name: VALUES.get(name, "word") for name in re.findall(r"\$\{?(\w+)", command)}
    script = f'loadlock() {{ printf "%s\\0" "$@"; }}\n{command}'
    done = subprocess.run(["bash", "-fuc", script], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def parse(words: list[str]) -> str:
    """The command that the words name, its arguments accepted."""
    command = _find(words)
    assert command is not None, f"no such command: {words}"
    _parser_of(command).parse_args(words[len(command.name.split()) :])
    return command.name


@pytest.mark.parametrize("words", [["attest", "."], ["endorse", "a.whl", "--owner-key", "b"], ["certify", "a.whl"]])
def test_the_parsers_refuse_what_is_no_command_line(words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        parse(words)
    assert refused.value.code == "usage.arguments"


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[f"{path.parent.name}-{text[9:16]}" for path, text in EVERY])
def test_every_command_line_parses(path: Path, command: str) -> None:
    assert parse(expanded(command)) in COMMANDS


@pytest.mark.parametrize("system", PIPELINES)
def test_each_template_has_each_command_once_and_in_order(system: str) -> None:
    assert tuple(parse(expanded(command)) for command in commands(PIPELINES[system])) == COMMANDS


@pytest.mark.parametrize("system", PIPELINES)
def test_no_command_is_overlooked(system: str) -> None:
    text = PIPELINES[system].read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*loadlock \w", text, re.MULTILINE)) == len(list(commands(PIPELINES[system])))
