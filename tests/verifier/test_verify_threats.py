"""docs/threat-model.md names tests and vectors that exist, and leaves no attack out."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MODEL = (TESTS.parent / "docs" / "threat-model.md").read_text(encoding="utf-8")
ROWS = {
    int(number): (check, shown)
    for number, check, shown in re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|([^|]*)\|$", MODEL, re.MULTILINE)
}
VECTORS = [
    vector
    for path in (TESTS / "vectors" / "verification").glob("*.toml")
    for vector in tomllib.loads(path.read_text(encoding="utf-8"))["vector"]
]
ATTACKED = {number for vector in VECTORS for number in vector.get("attack", [])}


def test_every_attack_has_its_row() -> None:
    assert list(ROWS) == list(range(1, 67))


@pytest.mark.parametrize("number", ROWS)
def test_every_test_named_exists(number: int) -> None:
    _, shown = ROWS[number]
    for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", shown):
        module = ast.parse((TESTS / path).read_bytes())
        assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
    rest = re.sub(r"`[\w/]+\.py::\w+`|vectors|—|[;\s]", "", shown)
    assert rest == "", "a row names tests, vectors or nothing"


@pytest.mark.parametrize("number", ROWS)
def test_vectors_are_named_where_there_are_any(number: int) -> None:
    named = re.sub(r"`[^`]*`", "", ROWS[number][1])
    assert ("vectors" in named) == (number in ATTACKED)


@pytest.mark.parametrize("number", ROWS)
def test_what_is_not_shown_is_said_to_be_open(number: int) -> None:
    check, shown = ROWS[number]
    if shown.strip() == "—":
        assert "**planned**" in check or "**not defended**" in check
