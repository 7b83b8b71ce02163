"""What must never be committed: names of registries, paths of somebody's machine, private keys; and sprawl."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project.tree import PACKAGES, ROOT, modules, tracked

# Taken apart, so that this file does not hold what it looks for.
REGISTRIES = "|".join(
    re.escape(first + last)
    for first, last in [
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("registry.npm", "js.org"),
        ("registry.yarn", "pkg.com"),
        ("crates", ".io"),
        ("proxy.go", "lang.org"),
        ("repo.maven.", "apache.org"),
        ("repo1.", "maven.org"),
        ("deb.", "debian.org"),
        ("archive.", "ubuntu.com"),
    ]
)
# Homes of made-up people are fine as data of tests.
MADE_UP = r"(?!alice\b|example\b)"
ROOTS = "ro" + "ot/", "ho" + rf"me/{MADE_UP}\w", "Us" + rf"ers/{MADE_UP}\w", "wo" + "rk/"
MACHINE_PATHS = rf"(?<![\w.])/(?:{'|'.join(ROOTS)})"
PRIVATE_KEY = r"-----BEGIN (?:[A-Z]+ )*PRIV" + r"ATE KEY-----(?:\s|\\n|\\r)*[A-Za-z0-9+/]{16}"

FORBIDDEN = {
    "a package registry's host": re.compile(REGISTRIES, re.IGNORECASE),
    "a path of somebody's machine": re.compile(MACHINE_PATHS),
    "a private key": re.compile(PRIVATE_KEY),
}
KEYS_MAY_LIE_IN = ROOT / "tests" / "vectors"

# Far above what the house asks for; whoever comes near should cut the module in two.
MODULE_LINES = 400
FUNCTION_LINES = 60


def findings(text: str) -> list[str]:
    """What of the forbidden stands in a text: the kind and the words."""
    return [f"{kind}: {match[0][:60]!r}" for kind, needle in FORBIDDEN.items() for match in needle.finditer(text)]


@pytest.mark.parametrize(
    "text",
    [
        "https://py" + "pi.org/simple",
        "files.python" + "hosted.org",
        "see /ro" + "ot/.cache",
        "'/ho" + "me/somebody/project'",
        "/wo" + "rk/main",
        "-----BEGIN EC PRIV" + "ATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1",
        r"'-----BEGIN PRIV" + r"ATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI'",
    ],
)
def test_the_needles_find_what_they_are_for(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://index.example/simple",
        "/ho" + "me/alice/plugin",
        "docs/ro" + "ot/",
        "a /ho" + "me/ directory",
        "PRIV" + "ATE KEY-----",
    ],
)
def test_the_needles_leave_the_harmless_alone(text: str) -> None:
    assert findings(text) == []


def test_nothing_forbidden_is_tracked() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {finding}"
        for path in tracked()
        for finding in findings(path.read_bytes().decode("utf-8", errors="replace"))
        if not (finding.startswith("a private key") and path.is_relative_to(KEYS_MAY_LIE_IN))
    ]
    assert found == []


def test_no_module_and_no_function_sprawls() -> None:
    found = []
    for path in (path for package in PACKAGES for path in modules(package)):
        source = path.read_text(encoding="utf-8")
        if (lines := source.count("\n")) > MODULE_LINES:
            found.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert found == []


def test_every_package_says_that_it_is_typed() -> None:
    assert [package for package in PACKAGES if not Path(ROOT, package, "py.typed").is_file()] == []
