"""Pins projects: looks up the newest release of each, and locks the environment to build it in.

The published wheel says in WHEEL which version of which backend made it. That version is taken for the environment, and
for the rest of the build requirements what the index had three days after the release. Where all entries of the wheel
have one time, that is what its builder took for the time (SOURCE_DATE_EPOCH, or the backend's own constant), which
nobody recorded: it is pinned too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from calendar import timegm
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from attestor.building.build import workshop
from attestor.building.source import describe
from attestor.building.wheelhouse import LockedWheel, Wheelhouse, uv_program
from benchmarks.reproducibility.corpus import Project, fetch_sdists, fetch_wheels, locked
from verifier.errors import LoadlockError

#: What WHEEL's ``Generator`` calls a backend, and its distribution.
GENERATORS: Mapping[str, str] = {
    "bdist_wheel": "wheel", "flit": "flit-core", "hatchling": "hatchling", "pdm-backend": "pdm-backend",
    "poetry-core": "poetry-core", "setuptools": "setuptools", "uv": "uv-build",
}  # fmt: skip
#: How long after a release its build requirements may have come out.
LEEWAY = timedelta(days=3)
_GENERATOR = re.compile(r"^Generator: ([\w-]+) \(?v?([0-9][\w.]*)\)?", re.MULTILINE)


@dataclass(frozen=True)
class Bounded(Wheelhouse):
    """The package index, with bounds that hold for whatever is resolved."""

    bounds: tuple[str, ...] = ()

    def resolve(
        self, requirements: Iterable[str], *, pinned: Sequence[LockedWheel] = (), limits: Sequence[str] = ()
    ) -> tuple[LockedWheel, ...]:
        """As :meth:`attestor.building.wheelhouse.Wheelhouse.resolve`."""
        return super().resolve(requirements, pinned=pinned, limits=[*limits, *self.bounds])


def pin(names: Sequence[str]) -> list[Project]:
    """The newest releases of these projects, with environments."""
    found = []
    for project, uploaded in _releases(names):
        try:
            found.append(_with_environment(project, uploaded))
        except (LoadlockError, LookupError, subprocess.CalledProcessError) as error:
            sys.stderr.write(f"{project.name} {project.version} cannot be pinned: {error}\n")
    return found


def _releases(names: Sequence[str]) -> list[tuple[Project, datetime]]:
    with TemporaryDirectory(prefix="loadlock-pin-") as name:
        requirements = Path(name, "requirements.in")
        requirements.write_text("".join(f"{one}\n" for one in names))
        argv = [
            uv_program(), "pip", "compile", "--quiet", "--no-deps", "--python-version", "3.11", "--generate-hashes",
            "--no-header", "--format", "pylock.toml", str(requirements),
        ]  # fmt: skip
        done = subprocess.run(argv, check=True, capture_output=True)
    return [
        (_release(package), package["sdist"]["upload-time"])
        for package in tomllib.loads(done.stdout.decode())["packages"]
    ]


def _release(package: dict[str, Any]) -> Project:
    sdist = package["sdist"]
    wheel = next(one for one in package["wheels"] if _name(one).endswith("-none-any.whl"))
    return Project(
        name=package["name"], version=package["version"], backend="", sdist=_name(sdist),
        sdist_sha256=sdist["hashes"]["sha256"], wheel=locked(_name(wheel), wheel["hashes"]["sha256"]), environment=(),
    )  # fmt: skip


def _name(file: dict[str, Any]) -> str:
    return file.get("name") or unquote(urlsplit(file["url"]).path.rsplit("/", 1)[-1])


def _with_environment(project: Project, uploaded: datetime) -> Project:
    with TemporaryDirectory(prefix="loadlock-pin-") as name:
        fetch_wheels([project.wheel], Path(name))
        with zipfile.ZipFile(Path(name, project.wheel.file_name)) as wheel:
            (member,) = (one for one in wheel.namelist() if one.endswith(".dist-info/WHEEL"))
            found = _GENERATOR.search(wheel.read(member).decode())
            times = {entry.date_time for entry in wheel.infolist()}
    if found is None:
        raise LookupError(f"{project.wheel.file_name} does not say what made it")
    backend = GENERATORS[found[1]]
    house = Bounded(bounds=(f"{backend}=={found[2]}",))
    source = describe(fetch_sdists([project])[project.name])
    then = patch.dict(os.environ, UV_EXCLUDE_NEWER=f"{uploaded + LEEWAY:%Y-%m-%dT%H:%M:%SZ}")
    with then, workshop(source, house) as shop:
        environment = shop.wheels
    return replace(
        project, backend="setuptools" if backend == "wheel" else backend, environment=environment,
        epoch=timegm(times.pop()) if len(times) == 1 else None,
    )  # fmt: skip
