"""Errors: one tree, one register of codes, each code raised somewhere and each one raised registered."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project.tree import PACKAGES, ROOT, modules
from tools.generated_docs import ERRORS, error_page
from verifier import errors
from verifier.codes import CODES
from verifier.errors import FormatError, LoadlockError, PluginFailed, PluginRevoked, Refused, Unreachable, UsageError

CODE = re.compile(r"[a-z]+\.[a-z]+[0-9]*(?:-[a-z]+)*")
SOURCES = [path for package in PACKAGES for path in modules(package) if path.name != "codes.py"]
KINDS = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, LoadlockError)}
NOT_RAISED_YET: dict[str, str] = {}
"""Codes that no source names, and why they are registered all the same."""
COMPOSED = {"trust.rollback", "list.rollback"}
"""Codes that are put together where they are raised."""


def literals(path: Path) -> set[str]:
    """Every string of a module that is the code of an error, docstrings left out because none is a code alone."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found & set(CODES)


def raised(path: Path) -> list[tuple[str, ast.expr]]:
    """The first argument of every error that a module makes, with where it is made."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args
    ]


# -- the register ------------------------------------------------------------------------------------------------------


def test_every_code_is_raised_somewhere() -> None:
    named = set[str]().union(*map(literals, SOURCES))
    assert set(CODES) - named - COMPOSED == set(NOT_RAISED_YET)


def test_every_code_that_is_raised_is_registered() -> None:
    wrong = [
        f"{place} {node.value!r}"
        for path in SOURCES
        for place, node in raised(path)
        if isinstance(node, ast.Constant) and node.value not in CODES
    ]
    assert wrong == []


def test_codes_that_are_put_together_are_known() -> None:
    composed = [
        "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)  # type: ignore[misc]
        for path in SOURCES
        for _, node in raised(path)
        if isinstance(node, ast.JoinedStr)
    ]
    assert {f"*.{code.partition('.')[2]}" for code in COMPOSED} >= set(composed)


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_well_formed_and_says_what_to_do(code: str) -> None:
    info = CODES[code]
    assert CODE.fullmatch(code)
    assert info.step is None or 0 <= info.step <= 12
    assert info.meaning
    assert not info.meaning.endswith(".")
    assert info.todo.endswith(".")
    assert "|" not in info.meaning + info.todo


def test_the_published_table_is_that_of_the_code() -> None:
    page = ERRORS.read_text("utf-8")
    assert page == error_page(page), "write it again: python -m tools.generated_docs"
    assert set(re.findall(r"^\| `([^`]+)` \| \d* \| ", page, re.MULTILINE)) == set(CODES)


# -- the tree ----------------------------------------------------------------------------------------------------------


def test_a_code_that_is_not_registered_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        LoadlockError("no.such-code", "what failed")


def test_the_exit_status_follows_from_the_kind() -> None:
    kinds = (Refused, FormatError, PluginRevoked, UsageError, Unreachable, PluginFailed)
    assert [kind.exit_status for kind in kinds] == [1, 1, 1, 2, 3, 4]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^.*── (\w+) ", errors.__doc__ or "", re.MULTILINE)
    assert set(drawn) == KINDS - {"LoadlockError"}
    assert "LoadlockError\n" in (errors.__doc__ or "")


def test_an_error_speaks_to_people_and_to_programs() -> None:
    error = Refused("revoked.artifact", "this plugin is revoked", found="x", expected="y")
    assert str(error).splitlines() == [
        "[revoked.artifact] this plugin is revoked",
        "  found:    x",
        "  expected: y",
        "  next:     Install the remediated version.",
    ]
    assert error.document() == {
        "code": "revoked.artifact",
        "step": 2,
        "what": "this plugin is revoked",
        "found": "x",
        "expected": "y",
        "todo": "Install the remediated version.",
    }


def test_what_is_empty_is_left_out_for_people_and_kept_for_programs() -> None:
    error = UsageError("usage.arguments", "no wheel was named", todo="Name one.")
    assert str(error) == "[usage.arguments] no wheel was named\n  next:     Name one."
    assert error.document()["found"] == error.document()["expected"] == ""
    assert error.document()["step"] is None
