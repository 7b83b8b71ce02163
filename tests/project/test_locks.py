"""The lock: everything by hash, nothing about where it came from, nothing that is declared left out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.tree import ROOT, pyproject

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))

# The whole grammar of a lock. Anything else (an option, an address, a path, a requirement without '==') is refused.
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.+!]*)(?: ; (?P<marker>[a-zA-Z0-9_.'<>=!() ]+))? \\"
)
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?P<more> \\)?")
NOTE = re.compile(r"    #(?: via|  )(?: [a-z0-9-]+(?: \(pyproject\.toml(?::[a-z]+)?\))?)?")


def parse(text: str) -> Iterator[tuple[str, str]]:
    """Each requirement of a lock as (name, version); fails on the first line that is not of the grammar."""
    lines = iter(text.splitlines())
    for line in lines:
        if NOTE.fullmatch(line):
            continue
        requirement = REQUIREMENT.fullmatch(line)
        assert requirement, f"neither a pinned requirement with hashes nor a note: {line!r}"
        more = True
        while more:
            following = next(lines, "")
            found = HASH.fullmatch(following)
            assert found, f"{requirement['name']}: expected a sha256 hash, found {following!r}"
            more = bool(found["more"])
        yield requirement["name"], requirement["version"]


def declared() -> dict[str, Requirement]:
    """Everything that the project asks for: base, extras, groups and the build backend."""
    document = pyproject()
    project = document["project"]
    lists = [document["build-system"]["requires"], project["dependencies"]]
    lists += [*project["optional-dependencies"].values(), *document["dependency-groups"].values()]
    lines = [line for lines in lists for line in lines if isinstance(line, str)]
    return {line: Requirement(line) for line in lines if Requirement(line).name != "loadlock"}


HASHED = f"    --hash=sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "text",
    [
        "pip==1.0",
        "pip==1.0 \\",
        "pip==1.0 \\\n    --hash=md5:00",
        "pip==1.0 \\\n    --hash=sha256:00",
        f"pip==1.0 \\\n{HASHED} \\",
        f"pip>=1.0 \\\n{HASHED}",
        f"pip @ file:pip.whl \\\n{HASHED}",
        f"--index-url https://index.example\npip==1.0 \\\n{HASHED}",
        f"--find-links wheels\npip==1.0 \\\n{HASHED}",
        f"# from index.example\npip==1.0 \\\n{HASHED}",
        f"pip==1.0 \\\n{HASHED}\n    # via -r /home/example/requirements.in",
        f"-e .\npip==1.0 \\\n{HASHED}",
    ],
)
def test_a_lock_that_is_loose_or_tells_too_much_is_refused(text: str) -> None:
    with pytest.raises(AssertionError):
        list(parse(text))


def test_a_lock_of_the_grammar_is_read() -> None:
    text = f"pip==1.0 ; sys_platform == 'win32' \\\n{HASHED} \\\n{HASHED}\n    # via loadlock (pyproject.toml:dev)"
    assert list(parse(text)) == [("pip", "1.0")]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_is_hashed_and_names_no_place(path: Path) -> None:
    assert list(parse(path.read_text(encoding="utf-8")))


def test_everything_declared_is_locked_within_its_bounds() -> None:
    locked = dict(parse((ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")))
    missing = [
        line
        for line, requirement in declared().items()
        if not requirement.specifier.contains(locked.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert missing == [], "run 'make lock'"


def test_the_build_backend_and_the_installers_are_locked() -> None:
    locked = dict(parse((ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")))
    assert {"editables", "hatchling", "pip", "uv"} <= set(locked)


def test_no_other_tool_is_configured_with_an_index() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert "uv" not in tools
    assert not (ROOT / "uv.toml").exists()
    assert not (ROOT / "pip.conf").exists()
