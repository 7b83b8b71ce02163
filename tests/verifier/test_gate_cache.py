"""A gate with a cache: a second start unpacks and compiles nothing, and believes nothing that it did not write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, code_of
from verifier.wheels import wheel as wheel_module


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def greet(hosted: HostedDeployment, wheel: Path, cache: Path | None) -> object:
    """What the plugin says in a gate of its own, which forgets it afterwards."""
    value: object = hosted.gate(cache=cache).load(wheel).entry_point("exporters", "hello")()
    hosted.unload()
    return value


def test_a_revoked_wheel_is_refused_though_it_is_known(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin()
    assert greet(hosted, wheel, tmp_path / "cache") == "hello"
    hosted.revoke(wheel)
    hosted.refresh()
    assert code_of(lambda: hosted.gate(cache=tmp_path / "cache").load(wheel)) == "revoked.artifact"


def test_a_known_wheel_is_not_unpacked_again(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = hosted.plugin()
    assert greet(hosted, wheel, tmp_path / "cache") == "hello"

    def unpack(*_: object) -> None:
        raise AssertionError("the wheel was unpacked again")

    monkeypatch.setattr(wheel_module, "read_files", unpack)
    assert greet(hosted, wheel, tmp_path / "cache") == "hello"
    assert code_of(lambda: hosted.gate().load(wheel)) == "internal.unexpected", "without a cache it is unpacked"


def test_what_others_wrote_into_the_cache_is_not_believed(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin()
    assert greet(hosted, wheel, tmp_path / "cache") == "hello"
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 64]
    assert kept, "the first start kept nothing"
    for path in kept:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert greet(hosted, wheel, tmp_path / "cache") == "hello"


def test_a_cache_that_others_may_enter_is_not_used(hosted: HostedDeployment, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    assert greet(hosted, hosted.plugin(), tmp_path / "cache") == "hello"
    assert list((tmp_path / "cache").iterdir()) == []
