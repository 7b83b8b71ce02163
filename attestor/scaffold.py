"""The first files of a new plugin: code, manifest, tests of what it may and may not reach, and a pipeline.

The files are templates of this package; pipelines are Loadlock's own CI templates, copied as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Literal

from packaging.utils import canonicalize_name

from verifier.errors import UsageError
from verifier.files import write_atomic
from verifier.formats.text import Name, PluginId

System = Literal["github", "gitlab", "azure", "none"]
SYSTEMS: tuple[System, ...] = ("github", "gitlab", "azure", "none")
"""CI systems whose pipeline lies in the plugin's repository; Jenkins' must not, see the guide."""
MAX_DESCRIPTION = 200

_PROJECT = {
    "pyproject.toml.in": "pyproject.toml",
    "PLUGIN_MANIFEST.json.in": "PLUGIN_MANIFEST.json",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "init.py.in": "src/$package/__init__.py",
    "conftest.py.in": "tests/conftest.py",
    "test_egress.py.in": "tests/test_egress.py",
    "test_export.py.in": "tests/test_export.py",
}
_PIPELINES: Mapping[System, Mapping[str, str]] = {
    "github": {
        "github/loadlock.yml": ".github/workflows/loadlock.yml",
        "github/release.yml": ".github/workflows/release.yml",
        "github/action/action.yml": ".github/actions/loadlock/action.yml",
    },
    "gitlab": {"gitlab/loadlock.gitlab-ci.yml": "ci/loadlock.gitlab-ci.yml"},
    "azure": {
        "azure/loadlock.azure-pipelines.yml": "loadlock.azure-pipelines.yml",
        "azure/install.yml": "install.yml",
    },
    "none": {},
}
_GITLAB = "include:\n  - local: ci/loadlock.gitlab-ci.yml\n"


def scaffold(name: str, owner: Name, description: str, system: System) -> dict[str, bytes]:
    """A new plugin's files: path to content.

    Args:
        name: the distribution's name.
        owner: the principal who will sign its manifest.
        description: one line.
        system: the CI system to write a pipeline for.

    Raises:
        UsageError: ``usage.arguments``.
    """
    try:
        package = PluginId.of(name)
    except ValueError as error:
        raise UsageError(
            "usage.arguments", "not a plugin's name", found=repr(name[:80]), expected="letters, digits and single '-'"
        ) from error
    if not package[0].isalpha():
        raise UsageError("usage.arguments", "a package's name begins with a letter", found=repr(name[:80]))
    plain = description.isascii() and description.isprintable() and not set(description) & set('"\\$')
    if not plain or not 0 < len(description) <= MAX_DESCRIPTION:
        raise UsageError(
            "usage.arguments", "the description is not usable", found=repr(description[:80]),
            expected=f"one line of ASCII without quotes, at most {MAX_DESCRIPTION} characters",
        )  # fmt: skip
    words = {"name": canonicalize_name(name), "package": package, "owner": owner, "description": description}
    templates = files("attestor") / "scaffolding"
    made = {
        Template(target).substitute(words): Template((templates / source).read_text("utf-8")).substitute(words).encode()
        for source, target in _PROJECT.items()
    }
    made |= {target: _pipeline(source) for source, target in _PIPELINES[system].items()}
    return made | ({".gitlab-ci.yml": _GITLAB.encode()} if system == "gitlab" else {})


def write(place: Path, made: Mapping[str, bytes]) -> None:
    """Write a new plugin's files into an empty or absent directory.

    Raises:
        UsageError: ``usage.exists``; Unreachable: ``io.failed``.
    """
    if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
        raise UsageError("usage.exists", f"{str(place)!a} is there and not empty", todo="Name a new directory.")
    for path, content in made.items():
        write_atomic(place / path, content)


def _pipeline(source: str) -> bytes:
    installed: Traversable = files("attestor") / "ci_templates"
    # In a checkout of Loadlock itself they lie beside the packages, where people read them.
    folder = installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "ci-templates"
    return folder.joinpath(*source.split("/")).read_bytes()
