"""What has to be locked or provided, and which bytes are a locked dependency."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator import EVERYTHING, PluginWheel, Simulator
from tests.verifier.test_judgements import code_of, manifest, snapshot
from verifier.errors import Refused
from verifier.formats.manifest import Dependency, SignedManifest
from verifier.formats.text import Digest, Version
from verifier.judging.decide import ADMISSION
from verifier.judging.dependencies import check_dependencies, locked_wheels, requirements_here
from verifier.wheels.wheel import Snapshot, read_wheel

SIM = Simulator()


def locking(wheel: PluginWheel, *locked: PluginWheel, **changes: Any) -> SignedManifest:
    """The manifest of a wheel that locks others and asks nothing of the host."""
    entries = [{"name": one.name, "version": one.version, "sha256": one.digest} for one in locked]
    return manifest(wheel, **{"dependencies": entries, "host_provided": [], **changes})


def dependency(name: str, *requires: str, version: str = "1.0") -> PluginWheel:
    return SIM.wheel(name, version, requires=requires)


# -- requirements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requires", "names"),
    [
        ([], ()),
        (["attrs"], ("attrs",)),
        (["Some.Thing[extra]>=1 ; python_version>='3'"], ("Some.Thing",)),
        (["a; extra == 'x'", "b; python_version < '3'"], ()),
        (["a; extra == ''"], ("a",)),
        (["a>=1", "A<2", "b"], ("a", "A", "b")),
        (["a @ https://host.example/a.whl"], ("a",)),
    ],
)
def test_what_is_required_here(requires: list[str], names: tuple[str, ...]) -> None:
    assert tuple(found.name for found in requirements_here(snapshot(SIM.wheel(requires=requires)))) == names


@pytest.mark.parametrize("marker", ["os_name ~= 'posix'", "'a' in 'b'", "python_version ~= 'abc'"])
def test_a_marker_that_cannot_be_evaluated_is_refused(marker: str) -> None:
    wheel = SIM.wheel(requires=[f"attrs; {marker}"])
    try:
        found = snapshot(wheel)
    except Refused as error:  # 'packaging' refuses some of them when METADATA is read
        assert error.code == "wheel.metadata"
    else:
        assert code_of(requirements_here, found) == "wheel.metadata"


@pytest.mark.parametrize(
    ("declared", "provided", "code"),
    [
        (["attrs>=25"], {}, "dependency.missing"),
        (["attrs>=25"], {"attrs": "24.9"}, "dependency.missing"),
        (["attrs>=25"], {"attrs": "no version"}, "dependency.missing"),
        (["attrs>=25"], {"attrs": ""}, "dependency.missing"),
        (["attrs"], {"Attrs": "25.1"}, "dependency.missing"),
        (["other"], {"attrs": "25.1", "other": "1"}, "dependency.undeclared"),
        ([], {"attrs": "25.1"}, "dependency.undeclared"),
    ],
)
def test_what_the_host_has_to_provide(declared: list[str], provided: dict[str, str], code: str) -> None:
    wheel = SIM.wheel(requires=["attrs"])
    arguments = manifest(wheel, host_provided=declared), snapshot(wheel), provided.get
    assert code_of(check_dependencies, *arguments) == code


@pytest.mark.parametrize("version", ["25.0", "25.1rc1", "26.0.dev1", "25.1+local"])
def test_what_the_host_provides_satisfies(version: str) -> None:
    wheel = SIM.wheel(requires=["Attrs"])
    check_dependencies(manifest(wheel), snapshot(wheel), {"attrs": version}.get)


@pytest.mark.parametrize("requires", [["attrs>=26"], ["attrs>=25", "Attrs>=26"], ["attrs==25.1; python_version>='3'"]])
def test_the_host_also_satisfies_what_the_wheel_itself_requires(requires: list[str]) -> None:
    wheel = SIM.wheel(requires=requires)
    assert code_of(check_dependencies, manifest(wheel), snapshot(wheel), {"attrs": "25.4"}.get) == "dependency.missing"


def test_where_there_is_no_host_nothing_is_looked_up() -> None:
    wheel = SIM.wheel(requires=["attrs"])
    check_dependencies(manifest(wheel), snapshot(wheel), None)
    assert EVERYTHING.provided is None


# -- locked dependencies -----------------------------------------------------------------------------------------------


def check(requires: list[str], *locked: PluginWheel, **changes: Any) -> None:
    """Judge a plugin with these requirements and locked wheels, on a host that provides attrs 25.4."""
    wheel = SIM.wheel(requires=requires)
    found = locking(wheel, *locked, **changes)
    check_dependencies(found, snapshot(wheel), {"attrs": "25.4"}.get, [snapshot(one) for one in locked])


@pytest.mark.parametrize(
    ("requires", "locked"),
    [
        (["a"], [dependency("a")]),
        (["A.b>=1,<2"], [dependency("a-b", version="1.9")]),
        (["a"], [dependency("a", "b; python_version < '3'")]),
        (["a"], [dependency("a", "b"), dependency("b", "a")]),
        (["a[x]"], [dependency("a", "b; extra == 'x'"), dependency("b")]),
        (["a"], [dependency("a", "b; extra == 'x'")]),
        (["a"], [dependency("a", "a[x]", "b; extra == 'x'"), dependency("b")]),
        (["sample-plugin[x]"], []),
        (["a"], [dependency("a", "attrs>=25")]),
        ([], [dependency("unused", "attrs")]),
    ],
)
def test_a_complete_set_is_accepted(requires: list[str], locked: list[PluginWheel]) -> None:
    check(requires, *locked, host_provided=["attrs"])


@pytest.mark.parametrize(
    ("requires", "locked", "code", "names"),
    [
        (["a", "b"], [dependency("a")], "dependency.undeclared", ["the wheel", "b"]),
        (["a"], [dependency("a", "b"), dependency("b", "c")], "dependency.undeclared", ["b 1.0", "c"]),
        (["a[x]"], [dependency("a", "b; extra == 'x'")], "dependency.undeclared", ["a 1.0", "b"]),
        (["a[X_y]"], [dependency("a", "b; extra == 'x-y'")], "dependency.undeclared", ["a 1.0", "b"]),
        (["a"], [dependency("a", "a[x]", "b; extra == 'x'")], "dependency.undeclared", ["a 1.0", "b"]),
        (["sample-plugin[x]", "b; extra == 'x'"], [], "dependency.undeclared", ["the wheel", "b"]),
        (["sample-plugin>=2"], [], "dependency.version", ["sample-plugin 1.0", "sample-plugin>=2"]),
        (["a==1.1"], [dependency("a")], "dependency.version", ["a 1.0", "a==1.1"]),
        (["a"], [dependency("a", "b<1"), dependency("b")], "dependency.version", ["b 1.0", "b<1"]),
        (["a"], [dependency("a", "attrs<25")], "dependency.missing", ["attrs", "attrs<25"]),
    ],
)
def test_an_incomplete_set_is_refused_and_names_what_is_missing(
    requires: list[str], locked: list[PluginWheel], code: str, names: list[str]
) -> None:
    with pytest.raises(Refused) as caught:
        check(requires, *locked, host_provided=["attrs"])
    assert caught.value.code == code
    for name in names:
        assert name in str(caught.value)


def test_where_there_is_no_host_the_plugins_own_requirements_are_judged() -> None:
    wheel, locked = SIM.wheel(requires=["a", "b"]), dependency("a", "deeper")
    assert code_of(check_dependencies, locking(wheel, locked), snapshot(wheel), None) == "dependency.undeclared"
    check_dependencies(locking(wheel, locked, dependency("b")), snapshot(wheel), None)


def test_a_registry_admits_what_locks_though_it_has_none_of_the_wheels() -> None:
    wheel, locked = SIM.wheel(requires=["a"]), dependency("a", "deeper")
    claims = SIM.claims(wheel)
    SIM.lock(claims, locked)
    assert SIM.verify(wheel, claims.sign(), request=ADMISSION).dependencies == ()


# -- whose bytes -------------------------------------------------------------------------------------------------------


def test_only_the_locked_digest_is_read() -> None:
    wheel, right = SIM.wheel(), dependency("a")
    wrong = SIM.wheel("a", files={"evil.py": b""})
    read: list[str] = []

    def reader(data: bytes, file_name: str, digest: str) -> Snapshot:
        read.append(file_name)
        return read_wheel(data, file_name, digest)

    offered = [("a-1.0-py2.py3-none-any.whl", wrong.data), (right.file_name, right.data), ("never-asked", b"")]
    (found,) = locked_wheels(locking(wheel, right), lambda _: offered, reader)
    assert (found.digest, read) == (right.digest, [right.file_name])
    assert code_of(locked_wheels, locking(wheel, right), lambda _: offered[:1], reader) == "dependency.unavailable"
    assert code_of(locked_wheels, locking(wheel, right), None, reader) == "dependency.unavailable"
    assert len(read) == 1


def test_all_of_them_together_are_capped() -> None:
    wheel, locked = SIM.wheel(), [dependency("a"), dependency("b")]
    house = {one.name: [(one.file_name, one.data)] for one in locked}

    def take(limit: int) -> tuple[Snapshot, ...]:
        return locked_wheels(locking(wheel, *locked), lambda wanted: house[wanted.name], read_wheel, limit)

    size = sum(len(one.data) for one in locked)
    assert len(take(size)) == 2
    assert code_of(take, size - 1) == "dependency.too-large"


def test_a_buffer_that_changes_while_it_is_judged_changes_nothing() -> None:
    wheel, locked = SIM.wheel(), dependency("a")
    buffer: Any = bytearray(locked.data)

    def reader(data: bytes, file_name: str, _: str) -> Snapshot:
        buffer[:] = bytes(len(buffer))
        return read_wheel(data, file_name)

    (found,) = locked_wheels(locking(wheel, locked), lambda _: [(locked.file_name, buffer)], reader)
    assert found.digest == locked.digest


@pytest.mark.parametrize("file_name", ["\x1b[2Ja-1.0-py3-none-any.whl", "a" * 5000])
def test_names_in_the_wheelhouse_cannot_steer_a_terminal(file_name: str) -> None:
    one = Dependency(name="a", version=Version("1.0"), sha256=Digest("sha256:" + "1" * 64))
    found = manifest(SIM.wheel(), dependencies=[{"name": one.name, "version": "1.0", "sha256": one.sha256}])
    with pytest.raises(Refused) as caught:
        locked_wheels(found, lambda _: [(file_name, b"")] * 9, read_wheel)
    assert str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 2000
