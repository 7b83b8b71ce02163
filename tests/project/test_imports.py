"""Who may import what, where import-linter cannot say it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.tree import PACKAGES, ROOT, imports, modules

# What a format may use. A list of what is allowed: a module that reads or writes anything is not on it.
FORMATS_MAY_IMPORT = {
    "msgspec",
    "packaging",
    "verifier.codes",
    "verifier.errors",
    "verifier.formats",
} | {
    "__future__",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}
ONE_MAY_IMPORT = {"tables": {"os", "threading"}}  # a lock, and what a fork does with it
FORMATS_MAY_NOT_CALL = ("open(", "print(", "input(", "datetime.now(", "utcnow(", "time.time(")

# What a host must not load by asking for the verifier's names: network code, and libraries that bring it.
HEAVY = {"http.client", "requests", "securesystemslib", "sigstore", "socket", "ssl", "tuf", "urllib.request", "urllib3"}


def within(name: str, allowed: set[str]) -> bool:
    """Whether a dotted name is one of ``allowed`` or lies below one."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in allowed for length in range(1, len(parts) + 1))


@pytest.mark.parametrize("path", modules("verifier/formats"), ids=lambda path: path.stem)
def test_formats_import_only_what_does_no_io(path: Path) -> None:
    allowed = FORMATS_MAY_IMPORT | ONE_MAY_IMPORT.get(path.stem, set())
    assert [found for found in imports(path) if not within(found[1], allowed)] == []


@pytest.mark.parametrize("path", modules("verifier/formats"), ids=lambda path: path.stem)
def test_formats_call_nothing_that_does_io_or_reads_the_clock(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [call for call in FORMATS_MAY_NOT_CALL if call in text] == []


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "verifier"])
def test_only_public_names_of_the_verifier_are_used(package: str) -> None:
    private = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in modules(package)
        for line, name in imports(path)
        if name.startswith("verifier.") and any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after ``statement``."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import verifier", "import verifier.formats", "import verifier.cli"])
def test_importing_the_verifier_loads_no_network_code(statement: str) -> None:
    loaded = loaded_by(statement)
    assert "verifier" in loaded
    assert loaded & HEAVY == set()


def test_values_of_the_verifier_are_no_dataclasses() -> None:
    """They are structs (``verifier/value.py``): making the classes is a part of each start of each host."""
    made = [
        str(path.relative_to(ROOT))
        for path in modules("verifier")
        if any(name.partition(".")[0] == "dataclasses" for _, name in imports(path))
    ]
    assert made == []


# A table of commands is all that the root needs to print its help; what an extra brings is imported when it is used.
@pytest.mark.parametrize(
    ("package", "brought_by_the_extra"),
    [
        ("attestor", {"build", "cyclonedx", "in_toto", "pip_audit", "rich"}),
        ("crl_server", {"alembic", "fastapi", "sqlalchemy", "sqlmodel", "uvicorn"}),
    ],
)
def test_the_command_line_loads_without_the_extra(package: str, brought_by_the_extra: set[str]) -> None:
    assert loaded_by(f"import {package}.cli") & brought_by_the_extra == set()
