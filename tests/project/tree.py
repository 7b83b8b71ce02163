"""The project's tree, as the tests of its frame look at it."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("attestor", "crl_server", "loadlock", "verifier")


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks and that is there, as an absolute path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    paths = (ROOT / name.decode() for name in listed.split(b"\0") if name)
    return tuple(path for path in paths if path.is_file())


def modules(folder: str) -> tuple[Path, ...]:
    """Every Python file below ``folder``, whether git knows it yet or not."""
    return tuple(sorted((ROOT / folder).rglob("*.py")))


def imports(path: Path) -> list[tuple[int, str]]:
    """What a Python file imports, anywhere in it: (line, dotted name), a name for each ``from`` import."""
    found = []
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: imports are absolute in this project"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@cache
def pyproject() -> dict[str, Any]:
    """``pyproject.toml``, parsed."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
