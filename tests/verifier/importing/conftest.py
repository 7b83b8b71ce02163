"""Snapshots that are registered for one test, and an interpreter that is as before afterwards."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.verifier.importing.children import bare_directory, run_child
from tests.wheels import build_wheel
from verifier.importing import Registration, register
from verifier.wheels.wheel import Snapshot, read_wheel

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


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory from which Loadlock alone can be imported."""
    return bare_directory(tmp_path_factory.mktemp("bare") / "modules")


@pytest.fixture
def child(bare: Path, tmp_path: Path) -> Callable[..., str]:
    """Run code in a clean host that has registered wheels made of modules, as ``plugins``; what it printed.

    Called as ``child(code, *modules, environ=…)``; the wheels are named plugin-0, plugin-1 and so on.
    """

    def run(code: str, *plugins: Mapping[str, str | bytes], environ: Mapping[str, str] | None = None) -> str:
        wheels = []
        for number, modules in enumerate(plugins):
            wheel = build_wheel(modules, name=f"plugin-{number}")
            wheels.append(tmp_path / wheel.file_name)
            wheels[-1].write_bytes(wheel.data)
        return run_child(bare, code, wheels, environ)

    return run


@pytest.fixture(scope="session")
def as_root() -> None:
    """Root, who alone can make files of root."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root that everybody can read."""
    with TemporaryDirectory(prefix="loadlock-prepared-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def compiled(name: str) -> bytes:
    """The content of a compiled module of this environment."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_bytes()
