"""What the attestor's tests share: the example plugin in a git repository of its own, and its build requirements."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestor.building.build import BuildResult, build
from attestor.building.source import describe
from attestor.building.wheelhouse import Wheelhouse, prepare
from attestor.pipeline import Attestation, Options, attest_source
from attestor.signing.signers import KeySigner, new_key

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "csv-exporter"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
COMMIT_TIME = 1_769_000_000


def git(directory: Path, *arguments: str) -> str:
    """Run git with a made-up author and a fixed time."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Alice",
        "GIT_AUTHOR_EMAIL": "alice@host.example",
        "GIT_COMMITTER_NAME": "Alice",
        "GIT_COMMITTER_EMAIL": "alice@host.example",
        "GIT_AUTHOR_DATE": f"{COMMIT_TIME} +0000",
        "GIT_COMMITTER_DATE": f"{COMMIT_TIME} +0000",
    }
    done = subprocess.run(["git", *arguments], cwd=directory, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_repository(place: Path, files: dict[str, str] | None = None, content: Path | None = None) -> Path:
    """A git repository with one commit that holds ``files``, or a copy of ``content``."""
    place.mkdir(parents=True, exist_ok=True)
    if content is not None:
        shutil.copytree(content, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name, text in (files or {}).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=first")
    git(place, "remote", "add", "origin", "https://alice:hunter2@host.example/reporting/csv-exporter.git")
    return place


@pytest.fixture(scope="session")
def build_wheels() -> Path:
    """The locked build requirements of the example plugin, fetched once and kept by digest."""
    return prepare(EXAMPLE / "build-requirements.lock")


@pytest.fixture(scope="session")
def house(build_wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheelhouse:
    """Wheels from that folder alone: no connection is made."""
    return Wheelhouse(build_wheels, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The example plugin, committed."""
    return make_repository(tmp_path / "csv-exporter", content=EXAMPLE)


@pytest.fixture(scope="session")
def built(house: Wheelhouse, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """The example plugin, built from its commit."""
    place = make_repository(tmp_path_factory.mktemp("built") / "csv-exporter", content=EXAMPLE)
    return build(describe(place), house, now=NOW)


@dataclass(frozen=True)
class Signers:
    """One key for each role, and the directory of their files."""

    place: Path
    builder: KeySigner
    owner: KeySigner
    certifier: KeySigner
    stranger: KeySigner


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    """Keys of both algorithms, one for each role."""
    place = tmp_path_factory.mktemp("keys")
    return Signers(
        place=place,
        builder=new_key(place / "builder.pem"),
        owner=new_key(place / "owner.pem", "ed25519"),
        certifier=new_key(place / "certifier.pem"),
        stranger=new_key(place / "stranger.pem"),
    )


@pytest.fixture(scope="session")
def attested(house: Wheelhouse, signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Attestation:
    """The example plugin, attested by its builder."""
    place = make_repository(tmp_path_factory.mktemp("attested") / "csv-exporter", content=EXAMPLE)
    return attest_source(place, Options(house=house), signers.builder, now=NOW)


Project = Callable[[dict[str, str]], Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Commits the given files and gives back the repository."""
    return lambda files: make_repository(tmp_path / "project", files)
