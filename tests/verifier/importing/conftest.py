"""Snapshots that are registered for one test, and an interpreter that is as before afterwards."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.wheels import build_wheel
from verifier.importing import Registration, register
from verifier.wheel import Snapshot, read_wheel

Make = Callable[..., Registration]


def snapshot_of(modules: Mapping[str, str | bytes], name: str = "sample-plugin", **fields: object) -> Snapshot:
    """Read a wheel made of these modules."""
    wheel = build_wheel(modules, name=name, **fields)  # type: ignore[arg-type]
    return read_wheel(wheel.data, wheel.file_name)


@pytest.fixture
def made() -> Iterator[Make]:
    """Register wheels made of modules; afterwards all are unregistered and nothing of them is left."""
    before = dict(sys.modules), list(sys.meta_path), list(sys.path_hooks)
    registrations: list[Registration] = []

    def make(modules: Mapping[str, str | bytes], name: str = "sample-plugin", **fields: object) -> Registration:
        registrations.append(register(snapshot_of(modules, name, **fields)))
        return registrations[-1]

    yield make
    for registration in registrations:
        registration.unregister()
    ours = {top for registration in registrations for top in registration.snapshot.top_levels}
    left = [name for name in sys.modules if name not in before[0] and name.partition(".")[0] in ours]
    assert not left
    assert (sys.meta_path, sys.path_hooks) == before[1:]


@pytest.fixture
def host(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A directory of the host that modules can be imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    importlib.invalidate_caches()
