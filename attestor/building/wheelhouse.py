"""Wheels locked by hash: resolved against an index or a local folder, fetched, cached by digest.

``resolve`` turns requirements into exact wheels, ``fetch`` puts exactly those bytes into a folder. An index is reached
through its ordinary clients and their own configuration; nothing of that configuration, and no download address, is
kept: a locked wheel is a name, a version, a file name and a sha256.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from attestor.building import processes
from attestor.checking.leaks import redact
from verifier.errors import Refused, Unreachable, UsageError
from verifier.files import read_capped, write_atomic

#: One locked wheel may not be larger than this.
MAX_WHEEL_BYTES = 500_000_000
#: A build environment or a plugin with more dependencies than this is refused.
MAX_WHEELS = 300
#: A requirements file in hash-checking mode may not be larger than this.
MAX_LOCK_BYTES = 4_000_000
#: How long resolving or fetching may take, in seconds.
INDEX_SECONDS = 300.0

#: What the index clients need of our own environment; the build itself gets none of it.
_PASSED_ON = ("PIP_", "UV_", "SSL_", "HTTP_", "HTTPS_", "ALL_", "NO_", "XDG_CONFIG_")
_PASSED_ON_EXACTLY = ("PATH", "HOME", "NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "USER", "LOGNAME")
#: pip's settings, and what uv calls the same thing.
_SAME_IN_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}


@dataclass(frozen=True, order=True)
class LockedWheel:
    """One exact wheel: normalised name, version, file name, sha256 in hex."""

    name: str
    version: str
    file_name: str
    sha256: str

    @property
    def purl(self) -> str:
        """The package URL, without any address to download from."""
        return f"pkg:pypi/{self.name}@{self.version}"


def default_cache() -> Path:
    """Where wheels are cached by digest: ``$LOADLOCK_CACHE``, else the user's cache directory."""
    given = os.environ.get("LOADLOCK_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadlock"
    return base / "wheels"


@dataclass(frozen=True)
class Wheelhouse:
    """Where wheels come from: a package index, or (``folder``) a local directory and then nothing else.

    Args:
        folder: only wheels in this directory are used and no connection is made; None: the configured package index.
        cache: wheels fetched before, as ``<sha256>/<file name>``; each is hashed again before it is used.
    """

    folder: Path | None = None
    cache: Path = field(default_factory=default_cache)

    def resolve(
        self, requirements: Iterable[str], *, pinned: Sequence[LockedWheel] = (), limits: Sequence[str] = ()
    ) -> tuple[LockedWheel, ...]:
        """The exact wheels that satisfy ``requirements`` and everything these require, sorted.

        Args:
            requirements: PEP 508 requirements; markers are evaluated for this interpreter.
            pinned: versions that an earlier resolution chose and that must stay.
            limits: requirements that hold for what they name, without asking for it.

        Raises:
            Refused: ``build.unlocked``: a requirement names an address, or cannot be satisfied with wheels.
            Unreachable: ``unreachable.index``.
        """
        wanted = sorted({str(_plain(text)) for text in requirements})
        if not wanted:
            return ()
        constraints = [f"{wheel.name}=={wheel.version}" for wheel in pinned] + [str(_plain(text)) for text in limits]
        with TemporaryDirectory(prefix="loadlock-lock-") as name:
            scratch = Path(name)
            (scratch / "requirements.in").write_text("".join(f"{line}\n" for line in wanted))
            (scratch / "constraints.in").write_text("".join(f"{line}\n" for line in constraints))
            argv = [
                uv_program(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:",
                "--generate-hashes", "--format", "pylock.toml", "--python", sys.executable,
                "--constraint", "constraints.in", "requirements.in",
            ]  # fmt: skip
            if self.folder is not None:
                argv += ["--offline", "--no-index", "--no-config", "--find-links", str(self.folder.resolve())]
            done = processes.run(argv, cwd=scratch, environ=_index_environ(), seconds=INDEX_SECONDS)
        if done.status != 0:
            raise _not_locked(done, "the requirements cannot be locked: " + ", ".join(wanted))
        return _read_lock(done.stdout)

    def fetch(self, wheels: Iterable[LockedWheel], into: Path) -> None:
        """Put exactly these wheels into the directory ``into``, each hashed there.

        Raises:
            Refused: ``build.unlocked``: a wheel cannot be had with the digest that was locked.
            Unreachable: ``unreachable.index``.
        """
        source = self.folder
        missing = [wheel for wheel in wheels if not self._take(wheel, into, source)]
        if missing and source is not None:
            raise _wrong_bytes(missing[0], f"the wheelhouse {source.name!r}")
        if missing:
            self._download(missing)
        for wheel in missing:
            if not self._take(wheel, into, None):
                raise _wrong_bytes(wheel, "the package index")

    def collect(self, wheels: Iterable[LockedWheel], into: Path) -> None:
        """Put exactly these wheels into ``into``, where others may lie already: all of them, or none.

        Raises:
            Refused: ``build.unlocked``; Unreachable: ``unreachable.index``, ``io.failed``.
        """
        wanted = list(wheels)
        try:
            into.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=into, prefix=".loadlock-") as name:
                self.fetch(wanted, Path(name))
                for wheel in wanted:
                    os.replace(Path(name, wheel.file_name), into / wheel.file_name)
        except OSError as error:
            raise Unreachable(
                "io.failed", f"cannot collect wheels into {into.name!r}", found=error.strerror or str(error)
            ) from error

    def _take(self, wheel: LockedWheel, into: Path, folder: Path | None) -> bool:
        """Copy one wheel from ``folder`` or the cache, if it is there with the digest that was locked."""
        place = (folder or self.cache / wheel.sha256) / wheel.file_name
        try:
            with place.open("rb") as stream:
                data = stream.read(MAX_WHEEL_BYTES + 1)
        except FileNotFoundError:
            return False
        if len(data) > MAX_WHEEL_BYTES or hashlib.sha256(data).hexdigest() != wheel.sha256:
            return False
        (into / wheel.file_name).write_bytes(data)
        return True

    def _download(self, wheels: Sequence[LockedWheel]) -> None:
        """Fetch wheels from the index into the cache; each requirement names the one hash that will do."""
        with TemporaryDirectory(prefix="loadlock-fetch-") as name:
            scratch = Path(name)
            (scratch / "lock.txt").write_text(hashed_requirements(wheels))
            _pip_download(scratch)
            for wheel in wheels:
                found = scratch / "wheels" / wheel.file_name
                if found.is_file() and found.stat().st_size <= MAX_WHEEL_BYTES:
                    place = self.cache / wheel.sha256
                    place.mkdir(parents=True, exist_ok=True)
                    write_atomic(place / wheel.file_name, found.read_bytes())


def prepare(lock: Path, cache: Path | None = None) -> Path:
    """Fetch the wheels of a hashed requirements file once, into a folder that :class:`Wheelhouse` can use offline.

    Args:
        lock: a requirements file in hash-checking mode.
        cache: where the folder lies, by default beside the cache of wheels. It is named by the lock's digest and this
            interpreter's first tag, since another interpreter may be given other wheels of the same lock.

    Raises:
        Refused: ``build.unlocked``.
        Unreachable: ``unreachable.index``.
    """
    data = read_capped(lock, MAX_LOCK_BYTES, "the lock")
    name = f"{hashlib.sha256(data).hexdigest()[:32]}-{next(sys_tags())}"
    place = (cache or default_cache().parent / "prepared") / name
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=".loadlock-") as directory:
        scratch = Path(directory)
        (scratch / "lock.txt").write_bytes(data)
        _pip_download(scratch)
        with contextlib.suppress(OSError):  # somebody else was faster: theirs has the same content
            (scratch / "wheels").rename(place)
    if not place.is_dir():
        raise Refused("build.unlocked", "the wheels of the lock cannot be kept", found=repr(place.name))
    return place


def _pip_download(scratch: Path) -> None:
    """Fetch what ``scratch/lock.txt`` names, by hash, into ``scratch/wheels``."""
    argv = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--require-hashes",
        "--only-binary", ":all:", "--dest", "wheels", "--requirement", "lock.txt",
    ]  # fmt: skip
    done = processes.run(argv, cwd=scratch, environ=_index_environ(), seconds=INDEX_SECONDS)
    if done.status != 0:
        raise _not_locked(done, "the locked wheels cannot be fetched")


def _plain(text: str) -> Requirement:
    """A requirement that a name and a version can satisfy."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise Refused("build.unlocked", "a requirement is malformed", found=repr(text), expected="PEP 508") from error
    if requirement.url is not None:
        raise Refused(
            "build.unlocked", f"the requirement {requirement.name!r} names an address",
            found="a direct reference", expected="a name and versions, so that it can be locked by hash",
        )  # fmt: skip
    return requirement


def uv_program() -> str:
    """Where uv lies; it comes with the extra ``attestor``."""
    try:
        from uv import find_uv_bin
    except ImportError as error:
        raise UsageError("usage.extra", "locking needs uv", expected="the extra loadlock[attestor]") from error
    return os.fspath(find_uv_bin())


def _index_environ() -> dict[str, str]:
    """The environment of the index clients: their own settings and what a connection needs, no more."""
    mine: Mapping[str, str] = os.environ
    passed = {
        name: value for name, value in mine.items()
        if name.upper().startswith(_PASSED_ON) or name in _PASSED_ON_EXACTLY
    }  # fmt: skip
    for pip_name, uv_name in _SAME_IN_UV.items():
        if pip_name in passed:
            passed.setdefault(uv_name, passed[pip_name])
    return passed | {"LC_ALL": "C.UTF-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_PROGRESS": "1"}


def _read_lock(data: bytes) -> tuple[LockedWheel, ...]:
    """The wheels of a ``pylock.toml`` (PEP 751): of each package, the one that fits this interpreter best."""
    packages: list[dict[str, Any]] = tomllib.loads(data.decode()).get("packages", [])
    if len(packages) > MAX_WHEELS:
        raise Refused("build.unlocked", "too many packages", found=str(len(packages)), expected=f"≤ {MAX_WHEELS}")
    rank = {tag: place for place, tag in enumerate(sys_tags())}
    return tuple(sorted(_best_wheel(package, rank) for package in packages))


def _best_wheel(package: dict[str, Any], rank: Mapping[Any, int]) -> LockedWheel:
    fitting: list[tuple[int, LockedWheel]] = []
    for entry in package.get("wheels", []):
        file_name = entry.get("name") or unquote(
            urlsplit(entry.get("url", entry.get("path", ""))).path.rsplit("/", 1)[-1]
        )
        sha256 = entry.get("hashes", {}).get("sha256")
        try:
            name, version, _build, tags = parse_wheel_filename(file_name)
        except InvalidWheelFilename:
            continue  # not a wheel by its name: as good as absent, and absence refuses below
        places = [rank[tag] for tag in tags if tag in rank]
        if sha256 and places and name == canonicalize_name(package["name"]):
            fitting.append((min(places), LockedWheel(name, str(version), file_name, sha256)))
    if not fitting:
        raise Refused(
            "build.unlocked", f"{package.get('name')!r} {package.get('version', '')} has no wheel for this interpreter",
            expected="a wheel with a sha256",
        )  # fmt: skip
    return min(fitting)[1]


def _not_locked(done: processes.Finished, what: str) -> Refused | Unreachable:
    """The index clients' failure in our words; their output may hold addresses with credentials."""
    said = redact(done.tail())
    unreachable = ("failed to fetch", "connection", "timed out", "dns error", "name resolution", "unreachable")
    if done.status is None or any(sign in said.lower() for sign in unreachable):
        return Unreachable("unreachable.index", what, found=said or "no answer in time")
    return Refused("build.unlocked", what, found=said)


def _wrong_bytes(wheel: LockedWheel, where: str) -> Refused:
    return Refused(
        "build.unlocked", f"{wheel.file_name} cannot be had from {where}",
        found="no file of that name and digest", expected=f"sha256:{wheel.sha256}",
    )  # fmt: skip


def hashed_requirements(wheels: Iterable[LockedWheel]) -> str:
    """The wheels as a requirements file in hash-checking mode."""
    return "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels)
