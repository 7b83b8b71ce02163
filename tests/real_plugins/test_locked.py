"""A real plugin with all of its real dependencies locked: mkdocs and fourteen more, two of them compiled, from memory.

The wheels are those of ``hosts/mkdocs.lock``, pinned by hash; the environment has what ``hosts/bare.lock`` names.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestor.building.wheelhouse import Wheelhouse, prepare
from attestor.pipeline import Options, attest_source
from attestor.signing.signers import KeySigner
from tests.hosts import HostedDeployment
from tests.real_plugins.conftest import Attested
from tests.real_plugins.fetch import BUILD_LOCK, HERE, bare_environment, plugins, sdists

pytestmark = pytest.mark.real_input

Use = Callable[[Path, Path], subprocess.CompletedProcess[str]]
COMPILED = {"markupsafe", "pyyaml"}
LOCKED = {
    "click", "ghp-import", "jinja2", "markdown", "mergedeep", "mkdocs", "mkdocs-get-deps", "pathspec", "platformdirs",
    "python-dateutil", "pyyaml-env-tag", "tzdata", "watchdog", *COMPILED,
}  # fmt: skip


@dataclass(frozen=True)
class Locked:
    """The plugin, attested, and the wheelhouse that was collected for it."""

    attested: Attested
    house: Path


@pytest.fixture(scope="module")
def locked(people: dict[str, KeySigner], tmp_path_factory: pytest.TempPathFactory) -> Locked:
    """mkdocs-redirects, attested on its own: its host provides ``packaging``, which Loadlock itself needs."""
    place = tmp_path_factory.mktemp("locked")
    shelf = place / "shelf"
    shelf.mkdir()
    for lock in (BUILD_LOCK, HERE / "hosts" / "mkdocs.lock"):
        for wheel in prepare(lock).iterdir():
            (shelf / wheel.name).write_bytes(wheel.read_bytes())
    plugin = next(plugin for plugin in plugins() if plugin.name == "mkdocs-redirects")
    manifest = json.loads(plugin.manifest.read_text(encoding="utf-8"))
    manifest |= {"host_provided": ["packaging"], "sdk_allowlist": sorted(LOCKED)}
    (place / "manifest.json").write_text(json.dumps(manifest))
    house = Wheelhouse(shelf, cache=place / "cache")
    options = Options(manifest=place / "manifest.json", house=house, once=True)
    made = attest_source(sdists()[plugin.name], options, people["builder"], now=datetime.now(UTC))
    house.collect(made.locked, place / "wheels")
    return Locked(Attested(plugin, made, people), place / "wheels")


@pytest.fixture(scope="module")
def use(
    hosted: HostedDeployment, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Loads and uses the plugin in a child process where nothing but Loadlock is installed."""
    place = tmp_path_factory.mktemp("bare")
    python = bare_environment(place / "environment")

    def run(wheel: Path, house: Path) -> subprocess.CompletedProcess[str]:
        scratch = wheel.parent / "site"
        scratch.mkdir()
        argv = [python, "-I", "-W", "error", HERE / "bare.py", hosted.directory, wheel, house, scratch]
        return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=60, cwd=place, check=False)

    return run


def test_exactly_what_is_locked_is_collected(locked: Locked) -> None:
    assert {found.name for found in locked.attested.made.manifest.dependencies} == LOCKED
    assert {path.name.partition("-")[0].replace("_", "-").lower() for path in locked.house.iterdir()} == LOCKED


def test_it_runs_with_all_of_them_from_memory_where_none_is_installed(locked: Locked, use: Use, tmp_path: Path) -> None:
    done = use(locked.attested.write(tmp_path), locked.house)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["lacking"] == ["mkdocs", "yaml", "jinja2", "markupsafe"]
    assert 'url=../"' in told["page"]
    assert told["compiled"][0] == "yaml._yaml"
    assert told["compiled"][1].startswith("loadlock:sha256:")
    assert told["versions"].keys() == LOCKED
    assert told["versions"]["mkdocs"] == "1.6.1"
    assert told["elsewhere"] == []
    assert told["served"] > 40


@pytest.mark.parametrize("name", ["PyYAML", "mergedeep"])
def test_one_touched_wheel_and_nothing_runs(locked: Locked, use: Use, tmp_path: Path, name: str) -> None:
    house = tmp_path / "wheels"
    house.mkdir()
    for wheel in locked.house.iterdir():
        data = bytearray(wheel.read_bytes())
        if wheel.name.lower().startswith(name.lower() + "-"):
            data[len(data) // 2] ^= 1
        (house / wheel.name).write_bytes(data)
    done = use(locked.attested.write(tmp_path), house)
    assert done.returncode != 0
    assert "dependency.unavailable" in done.stderr
    assert name.lower() in done.stderr
    assert not [*(tmp_path / "site").iterdir()]
