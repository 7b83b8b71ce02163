"""What a wheel needs: locked by hash, or the host's; what cannot be locked is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from attestor.building.wheelhouse import Wheelhouse
from attestor.describing.dependencies import Dependencies, find_dependencies
from tests.wheels import build_wheel
from verifier.errors import LoadlockError
from verifier.judging.dependencies import requirements_of
from verifier.wheels.wheel import read_wheel


@pytest.fixture
def shelf(tmp_path: Path) -> Wheelhouse:
    """A local wheelhouse: ``alpha`` 1.0 and 2.0, the latter with a licence and a need for ``beta``."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheels = [
        build_wheel({"alpha.py": ""}, name="alpha", version="1.0"),
        build_wheel({"alpha.py": ""}, name="alpha", version="2.0", metadata_lines=ALPHA),
        build_wheel({"beta.py": ""}, name="beta", version="3.1"),
        build_wheel({"delta.py": ""}, name="delta", metadata_lines=["Requires-Dist: beta; extra == 'more'"]),
        build_wheel({"epsilon.py": ""}, name="epsilon", metadata_lines=["Requires-Dist: alpha==2.0"]),
        build_wheel({"bad.pth": "import os"}, name="sneaky", version="1.0"),
    ]
    for wheel in wheels:
        (folder / wheel.file_name).write_bytes(wheel.data)
    return Wheelhouse(folder, cache=tmp_path / "cache")


ALPHA = ["License-Expression: MIT", "Requires-Dist: beta>=3", "Requires-Dist: gamma; extra == 'more'"]


def find(requires: Iterable[str], host: Iterable[str], shelf: Wheelhouse) -> Dependencies:
    wheel = build_wheel(metadata_lines=[f"Requires-Dist: {line}" for line in requires])
    return find_dependencies(read_wheel(wheel.data, wheel.file_name), list(host), shelf)


@pytest.mark.parametrize(
    ("requires", "code"),
    [
        ("gamma", "build.unlocked"),
        ("alpha>=9", "build.unlocked"),
        ("alpha @ https://host.example/alpha.whl", "build.unlocked"),
        ("sneaky", "wheel.forbidden"),
    ],
)
def test_what_cannot_be_locked_is_refused(shelf: Wheelhouse, requires: str, code: str) -> None:
    with pytest.raises(LoadlockError) as caught:
        find([requires], [], shelf)
    assert caught.value.code == code


def test_dependencies_and_theirs_are_locked_by_hash(shelf: Wheelhouse) -> None:
    found = find(["Alpha"], [], shelf)
    assert found.direct == ("alpha",)
    assert [(entry.wheel.name, entry.wheel.version) for entry in found.locked] == [("alpha", "2.0"), ("beta", "3.1")]
    assert found.locked[0].requires == ("beta",)
    assert found.locked[0].licences == ("MIT",)
    assert shelf.folder is not None
    for entry in found.locked:
        data = (shelf.folder / entry.wheel.file_name).read_bytes()
        assert entry.wheel.sha256 == hashlib.sha256(data).hexdigest()


def test_what_the_host_provides_is_not_locked(shelf: Wheelhouse) -> None:
    found = find(["alpha", "gamma>=1"], ["beta>=3,<4", "gamma"], shelf)
    assert [entry.wheel.name for entry in found.locked] == ["alpha"]
    assert [(entry.name, entry.specifier) for entry in found.host] == [("beta", "<4,>=3"), ("gamma", "")]
    assert found.direct == ("alpha", "gamma")


def test_the_hosts_versions_bind_what_is_locked(shelf: Wheelhouse) -> None:
    # alpha 2.0 needs beta 3, which this host does not have: an older alpha does without.
    found = find(["alpha"], ["beta<3"], shelf)
    assert [(entry.wheel.name, entry.wheel.version) for entry in found.locked] == [("alpha", "1.0")]


def test_extras_and_other_platforms_are_left_alone(shelf: Wheelhouse) -> None:
    found = find(["gamma; extra == 'x'", "gamma; sys_platform == 'nowhere'", "beta; python_version >= '3'"], [], shelf)
    assert [entry.wheel.name for entry in found.locked] == ["beta"]


def test_an_extra_that_is_asked_for_is_required(shelf: Wheelhouse) -> None:
    found = find(["delta[more]"], [], shelf)
    assert {entry.wheel.name: entry.requires for entry in found.locked} == {"beta": (), "delta": ("beta",)}
    assert [entry.wheel.name for entry in find(["delta"], [], shelf).locked] == ["delta"]


def test_what_only_the_host_needs_is_not_locked(shelf: Wheelhouse) -> None:
    # epsilon needs alpha, which the host has; what that needs in turn, the host has too, in whichever version.
    found = find(["epsilon"], ["alpha"], shelf)
    assert [entry.wheel.name for entry in found.locked] == ["epsilon"]
    assert found.locked[0].requires == ("alpha",)


def test_what_was_found_is_complete_in_a_hosts_eyes(shelf: Wheelhouse) -> None:
    wheel = build_wheel(metadata_lines=["Requires-Dist: epsilon", "Requires-Dist: delta[more]"])
    snapshot = read_wheel(wheel.data, wheel.file_name)
    found = find_dependencies(snapshot, [], shelf)
    assert [entry.wheel.name for entry in found.locked] == ["alpha", "beta", "delta", "epsilon"]
    assert shelf.folder is not None
    files = [shelf.folder / entry.wheel.file_name for entry in found.locked]
    wheels = [read_wheel(file.read_bytes(), file.name) for file in files]
    assert {
        str(wanted).partition(">")[0].partition("=")[0].partition(";")[0]
        for _, wanted in requirements_of(snapshot, wheels)
    } == {"alpha", "beta", "delta[more]", "epsilon"}


def test_a_wheel_without_requirements_needs_nothing(shelf: Wheelhouse) -> None:
    assert find([], [], shelf) == Dependencies((), (), ())
