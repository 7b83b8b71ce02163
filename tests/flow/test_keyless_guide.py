"""The guide to keyless signing does not lie: its identities parse, its options exist, its codes are registered."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from loadlock import cli
from tests.project.tree import ROOT
from verifier.codes import CODES
from verifier.signatures.identities import parse_identity

GUIDE = (ROOT / "docs" / "guides" / "keyless.md").read_text(encoding="utf-8")
COMMANDS = {command.name: command for _, several in cli._packages() for command in several}
SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")


@pytest.mark.parametrize("example", re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
def test_every_identity_parses(example: str) -> None:
    assert parse_identity(example.encode()).identity.id


@pytest.mark.parametrize("line", [line for line in SHELL.splitlines() if line])
def test_every_command_takes_its_arguments(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "loadlock"
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
    parser = argparse.ArgumentParser(exit_on_error=False)
    COMMANDS[name].configure(parser)
    parser.parse_args(words[len(name.split()) :])


def test_every_code_is_registered() -> None:
    table = GUIDE.split("| what happens | what it says |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`([a-z]+\.[a-z-]+)`", table)) <= set(CODES)
