"""Fetches the pinned plugins, and makes the environments of their hosts.

An sdist is fetched by the package index's ordinary client, by hash. That client asks an sdist's build backend for its
metadata once the hash has been checked; it does so in a throw-away environment of locked wheels.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from attestor.building.wheelhouse import default_cache, prepare, uv_program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD_LOCK = HERE / "build.lock"


@dataclass(frozen=True)
class Plugin:
    """One pinned plugin: its sdist, the name of its host, and the entry point (group, name) that is called."""

    name: str
    version: str
    sdist: str
    sha256: str
    host: str
    entry: tuple[str, str]

    @property
    def manifest(self) -> Path:
        """Our manifest of it."""
        return HERE / "manifests" / f"{self.name}.json"

    @property
    def host_lock(self) -> Path:
        """The lock of its host's environment, Loadlock's own dependencies included."""
        return HERE / "hosts" / f"{self.host}.lock"


def plugins() -> list[Plugin]:
    """The five plugins of ``plugins.toml``."""
    document = tomllib.loads((HERE / "plugins.toml").read_text(encoding="utf-8"))
    return [Plugin(**{**entry, "entry": tuple(entry["entry"])}) for entry in document["plugin"]]


def sdists() -> dict[str, Path]:
    """Plugin name to its sdist, fetched once and kept by digest, hashed each time."""
    cache = default_cache().parent / "sdists"
    places = {plugin.name: cache / plugin.sha256 / plugin.sdist for plugin in plugins()}
    missing = [plugin for plugin in plugins() if not _is(places[plugin.name], plugin.sha256)]
    if missing:
        _download(missing, cache)
    for plugin in plugins():
        assert _is(places[plugin.name], plugin.sha256), f"{plugin.sdist} is not the pinned file"
    return places


def build_wheels() -> Path:
    """The wheels of all build requirements of the five, to build offline."""
    return prepare(BUILD_LOCK)


def host_environment(plugin: Plugin, place: Path) -> Path:
    """A fresh environment with the plugin's host and Loadlock, but not the plugin; gives back its interpreter.

    Args:
        plugin: whose host.
        place: a directory that does not exist yet.
    """
    return _with_loadlock(place, plugin.host_lock)


def bare_environment(place: Path) -> Path:
    """A fresh environment with Loadlock and what it needs to read, and nothing else; gives back its interpreter.

    Args:
        place: a directory that does not exist yet.
    """
    return _with_loadlock(place, HERE / "hosts" / "bare.lock")


def _with_loadlock(place: Path, lock: Path) -> Path:
    python = _environment(place, lock)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "loadlock-source.pth").write_text(f"{ROOT}\n")
    return python


def _environment(place: Path, lock: Path) -> Path:
    """A virtual environment with the wheels of a lock, installed offline and by hash."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(place)
    python = place / "bin" / "python"
    argv = [
        uv_program(), "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--require-hashes",
        "--no-config", "--no-cache", "--link-mode", "copy", "--find-links", os.fspath(prepare(lock)),
        "--python", os.fspath(python), "--requirement", os.fspath(lock),
    ]  # fmt: skip
    subprocess.run(argv, check=True)
    return python


def _download(wanted: Sequence[Plugin], cache: Path) -> None:
    """Fetch sdists into the cache, all in one go."""
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix=".fetching-") as name:
        scratch = Path(name)
        python = _environment(scratch / "environment", BUILD_LOCK)
        lines = [f"{plugin.name}=={plugin.version} --hash=sha256:{plugin.sha256}\n" for plugin in wanted]
        (scratch / "lock.txt").write_text("".join(lines))
        argv = [
            sys.executable, "-m", "pip", "--python", os.fspath(python), "download", "--quiet", "--no-input",
            "--no-deps", "--no-build-isolation", "--require-hashes", "--dest", os.fspath(scratch / "sdists"),
            "--no-binary", ",".join(plugin.name for plugin in wanted), "--requirement", os.fspath(scratch / "lock.txt"),
        ]  # fmt: skip
        subprocess.run(argv, check=True, cwd=scratch)
        for plugin in wanted:
            place = cache / plugin.sha256
            place.mkdir(exist_ok=True)
            (scratch / "sdists" / plugin.sdist).replace(place / plugin.sdist)


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
