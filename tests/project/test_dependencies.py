"""What the code imports is what ``pyproject.toml`` declares, for each side of the house."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.tree import PACKAGES, ROOT, imports, modules, pyproject

# Extras whose distributions a package may import, beyond the base.
EXTRAS = {
    "verifier": ("hosts", "keyless", "layout", "otel"),
    "attestor": ("attestor", "keyless"),
    "crl_server": ("otel", "postgresql", "s3", "server"),
    "loadlock": ("attestor", "server", "testing"),
}


def declared(*extras: str) -> set[str]:
    """Normalised names of the base dependencies and of those of ``extras``."""
    project = pyproject()["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}


def third_party(package: str) -> dict[str, str]:
    """Top-level modules from elsewhere that ``package`` imports, each with one place where it does."""
    return {
        top: f"{path.relative_to(ROOT)}:{line}"
        for path in modules(package)
        for line, name in imports(path)
        if (top := name.partition(".")[0]) not in sys.stdlib_module_names and top not in PACKAGES
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_is_declared(package: str) -> None:
    brought_by = packages_distributions()
    allowed = declared(*EXTRAS[package])
    undeclared = {
        top: place
        for top, place in third_party(package).items()
        if not {canonicalize_name(name) for name in brought_by.get(top, [])} & allowed
    }
    assert undeclared == {}


def test_all_is_every_extra() -> None:
    extras = pyproject()["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert Requirement(everything).extras == set(extras) - {"all"}


def test_each_lower_bound_is_stated() -> None:
    project = pyproject()["project"]
    lines = project["dependencies"] + [line for lines in project["optional-dependencies"].values() for line in lines]
    unbounded = [line for line in lines if not line.startswith("loadlock[") and not re.search(r">=\d", line)]
    assert unbounded == []
