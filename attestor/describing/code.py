"""A plugin's code and its own metadata, out of a project's directory or a wheel, for those who only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name

from attestor.describing.known_names import NATIVE
from attestor.describing.manifest import project_table
from verifier.errors import FormatError, Refused, UsageError
from verifier.files import read_capped
from verifier.wheels.wheel import DEFAULT_LIMITS, read_wheel

MAX_FILE = 8 * 1024 * 1024
"""Size cap of one source file in bytes."""
MAX_NATIVE = 200 * 1024 * 1024
"""Size cap of one compiled file in bytes."""
MAX_FILES = 5_000
"""How many source files a project may have."""
NOT_CODE = frozenset(
    {"tests", "test", "testing", "docs", "doc", "examples", "benchmarks", "build", "dist", "scripts", "tools"}
)
"""Directories at the top of a project whose code is not the plugin's."""
NOT_NAMESPACES = NOT_CODE | {
    "bin", "changelog", "ci", "debian", "documentation", "htmlcov", "news", "newsfragments", "python", "util", "utils",
}  # fmt: skip
"""Directories at the top that are no namespace package either: those that setuptools leaves out."""
NOT_MODULES = frozenset({"setup.py", "conftest.py", "noxfile.py", "tasks.py", "fabfile.py"})


@dataclass(frozen=True)
class Code:
    """A plugin's code and what its metadata says.

    Attributes:
        files: path below the import root to content.
        name: the distribution's normalised name.
        version: its version; empty when the build makes it.
        description: one line; may be empty.
        entry_points: group to name to object reference.
        requirements: as the metadata states them (PEP 508).
        classifiers: trove classifiers.
    """

    files: Mapping[str, bytes]
    name: str
    version: str
    description: str
    entry_points: Mapping[str, Mapping[str, str]]
    requirements: tuple[str, ...]
    classifiers: tuple[str, ...] = ()


def read_code(path: Path) -> Code:
    """The code at a path: a project's directory with a ``pyproject.toml``, or a wheel.

    Raises:
        UsageError: ``source.unusable``, also where no code is found; ``io.failed``, ``format.too-large``.
        Refused: ``wheel.*``; FormatError: ``format.*``.
    """
    return _of_project(path) if path.is_dir() else _of_wheel(path)


def _of_project(directory: Path) -> Code:
    project = project_table(directory / "pyproject.toml")
    if project is None or not isinstance(project.get("name"), str):
        raise UsageError(
            "source.unusable", "the project does not name itself", found="no [project] name in pyproject.toml",
            expected="pyproject.toml with [project] (PEP 621), or a wheel",
        )  # fmt: skip
    code = Code(
        files=dict(_files_of(directory)),
        name=canonicalize_name(project["name"]),
        version=_text(project.get("version")),
        description=_text(project.get("description")),
        entry_points=_groups(project.get("entry-points")),
        requirements=_texts(project.get("dependencies")),
        classifiers=_texts(project.get("classifiers")),
    )
    if not code.files:
        raise UsageError(
            "source.unusable", "no code was found in the project, so there is nothing to say about it",
            expected="modules in src/, or packages and modules at the top",
            todo="Build the wheel, and name that instead of the directory.",
        )  # fmt: skip
    return code


def _files_of(directory: Path) -> Iterator[tuple[str, bytes]]:
    root = directory / "src" if (directory / "src").is_dir() else directory
    count = 0
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.suffix not in (".py", *NATIVE) or any(part.startswith(".") for part in inside.parts):
            continue
        if "__pycache__" in inside.parts or path.is_dir() or (root == directory and not _of_plugin(root, inside)):
            continue
        count += 1
        if count > MAX_FILES:
            raise UsageError("format.too-large", "the project has too many files", expected=f"at most {MAX_FILES}")
        if not path.resolve().is_relative_to(directory.resolve()):
            raise UsageError("source.unusable", "a file is a link out of the project", found=ascii(inside.as_posix()))
        yield inside.as_posix(), read_capped(path, MAX_NATIVE if path.suffix in NATIVE else MAX_FILE, "the source file")


def _of_plugin(root: Path, inside: Path) -> bool:
    """Whether a file of a flat layout belongs to a package, or is a module of its own."""
    top = inside.parts[0]
    if len(inside.parts) == 1:
        return inside.name not in NOT_MODULES and inside.suffix == ".py"
    if (root / top / "__init__.py").is_file():
        return top not in NOT_CODE and inside.name not in NOT_MODULES
    return top not in NOT_NAMESPACES and (root / top / inside.parts[1] / "__init__.py").is_file()


def _of_wheel(path: Path) -> Code:
    snapshot = read_wheel(read_capped(path, DEFAULT_LIMITS.archive, "the wheel"), path.name)
    points = snapshot.files.get(f"{snapshot.dist_info}/entry_points.txt", b"")
    wanted = [name for name in snapshot.files if PurePosixPath(name).parts[0] != snapshot.dist_info]
    return Code(
        files={name: snapshot.files[name] for name in wanted},
        name=snapshot.name,
        version=snapshot.version,
        description="",
        entry_points=_entry_points(points),
        requirements=snapshot.metadata.requires_dist,
    )


def _entry_points(document: bytes) -> dict[str, dict[str, str]]:
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names keep their case
    try:
        parser.read_string(document.decode("utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise Refused("wheel.metadata", "entry_points.txt cannot be read", found=ascii(str(error)[:200])) from error
    return {group: dict(parser[group]) for group in parser.sections()}


def _groups(value: Any) -> dict[str, dict[str, str]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(names, dict) for names in value.values()):
        raise FormatError(
            "format.schema", "pyproject.toml is wrong at 'project.entry-points'", expected="tables of names"
        )
    return {str(group): {str(name): str(target) for name, target in names.items()} for group, names in value.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()
