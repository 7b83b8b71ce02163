"""The corpus: published projects, each with its sdist, its wheel and the wheels of its build environment, by hash.

Everything is fetched by the package index's ordinary clients, by the hashes that ``corpus.toml`` names. pip asks an
sdist's backend for its metadata once the hash has been checked; it does so among the hashed wheels of
``backends.lock``, not among what the index happens to have.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from packaging.utils import parse_wheel_filename

from attestor.building.wheelhouse import LockedWheel, Wheelhouse, default_cache, prepare, uv_program

CORPUS: Final = Path(__file__).with_name("corpus.toml")
BACKENDS: Final = Path(__file__).with_name("backends.lock")


@dataclass(frozen=True)
class Project:
    """One published project.

    Args:
        name, version: normalised.
        backend: the distribution of its build backend.
        sdist, sdist_sha256: the source's file name and digest.
        wheel: what was published.
        environment: the wheels to build with.
        epoch: the one time that all entries of the published wheel have; None when they have several.
    """

    name: str
    version: str
    backend: str
    sdist: str
    sdist_sha256: str
    wheel: LockedWheel
    environment: tuple[LockedWheel, ...]
    epoch: int | None = None


def locked(file_name: str, sha256: str) -> LockedWheel:
    """A wheel by its file name and digest."""
    name, version, _, _ = parse_wheel_filename(file_name)
    return LockedWheel(name, str(version), file_name, sha256)


def read_corpus() -> list[Project]:
    """All projects of ``corpus.toml``."""
    return [_project(entry) for entry in tomllib.loads(CORPUS.read_text("utf-8"))["project"]]


def _project(entry: dict[str, Any]) -> Project:
    return Project(
        name=entry["name"],
        version=entry["version"],
        backend=entry["backend"],
        sdist=entry["sdist"],
        sdist_sha256=entry["sdist_sha256"],
        wheel=locked(entry["wheel"], entry["wheel_sha256"]),
        environment=tuple(sorted(locked(*pair) for pair in entry["environment"].items())),
        epoch=entry.get("epoch"),
    )


def dump_project(project: Project) -> str:
    """A project as TOML; :func:`read_corpus` reads it back."""
    lines = [
        "[[project]]",
        f'name = "{project.name}"',
        f'version = "{project.version}"',
        f'backend = "{project.backend}"',
        f'sdist = "{project.sdist}"',
        f'sdist_sha256 = "{project.sdist_sha256}"',
        f'wheel = "{project.wheel.file_name}"',
        f'wheel_sha256 = "{project.wheel.sha256}"',
        *([] if project.epoch is None else [f"epoch = {project.epoch}"]),
        "",
        "[project.environment]",
        *(f'"{wheel.file_name}" = "{wheel.sha256}"' for wheel in project.environment),
        "",
    ]
    return "\n".join(lines)


def fetch_wheels(wheels: Iterable[LockedWheel], into: Path) -> None:
    """Put exactly these wheels into a directory."""
    into.mkdir(parents=True, exist_ok=True)
    Wheelhouse().fetch(wheels, into)


def fetch_sdists(projects: Sequence[Project]) -> dict[str, Path]:
    """Project name to its sdist, fetched once and kept by digest, hashed each time."""
    cache = default_cache().parent / "sdists"
    places = {project.name: cache / project.sdist_sha256 / project.sdist for project in projects}
    missing = [project for project in projects if not _is(places[project.name], project.sdist_sha256)]
    if missing:
        _download(missing, cache)
    for project in projects:
        if not _is(places[project.name], project.sdist_sha256):
            raise SystemExit(f"{project.sdist} is not the pinned file")
    return places


def _download(projects: Sequence[Project], cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix=".fetching-") as name:
        scratch = Path(name)
        python = _environment(scratch / "environment")
        for project in projects:
            (scratch / "lock.txt").write_text(
                f"{project.name}=={project.version} --hash=sha256:{project.sdist_sha256}\n"
            )
            argv = [
                sys.executable, "-m", "pip", "--python", os.fspath(python), "download", "--quiet", "--no-input",
                "--no-deps", "--no-build-isolation", "--require-hashes", "--no-binary", project.name,
                "--dest", os.fspath(scratch / "sdists"), "--requirement", os.fspath(scratch / "lock.txt"),
            ]  # fmt: skip
            # uv-build looks for its program on the path.
            environ = dict(os.environ, PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
            subprocess.run(argv, check=True, cwd=scratch, env=environ)
            place = cache / project.sdist_sha256
            place.mkdir(exist_ok=True)
            (scratch / "sdists" / project.sdist).replace(place / project.sdist)


def _environment(place: Path) -> Path:
    """A virtual environment with the backends, installed offline and by hash."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(place)
    python = place / "bin" / "python"
    argv = [
        uv_program(), "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--require-hashes",
        "--no-config", "--no-cache", "--find-links", os.fspath(prepare(BACKENDS)),
        "--python", os.fspath(python), "--requirement", os.fspath(BACKENDS),
    ]  # fmt: skip
    subprocess.run(argv, check=True)
    return python


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
