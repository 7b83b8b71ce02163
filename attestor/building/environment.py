"""Where a build runs: a fresh interpreter environment, fixed inputs, no network where the system can cut it.

What a build is given is written down in full (:class:`Fixed`), so that a rebuild can be given the same.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import sysconfig
import venv
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attestor.building import processes
from attestor.building.apart import Network, Processes, without_network
from attestor.building.wheelhouse import LockedWheel, Wheelhouse, hashed_requirements, uv_program
from verifier.errors import Refused

#: How long one step of a build may take, in seconds.
BUILD_SECONDS = 900.0
UMASK = 0o022
_ALONE = (
    "Build the same commit by hand and mend what the log says. A build has no network here: what it needs has to lie "
    "in the source, or come with its build requirements."
)


@dataclass(frozen=True)
class Interpreter:
    """The Python that built: implementation and version, the sha256 (hex) of its executable, platform, zlib."""

    implementation: str
    version: str
    sha256: str
    platform: str
    zlib: str


@dataclass(frozen=True)
class Fixed:
    """Every input of a build beside source, interpreter and wheels.

    Args:
        epoch: SOURCE_DATE_EPOCH, seconds since 1970.
        umask: the file mode mask.
        network: ``none`` when the build had no network, ``not-cut`` when this system cannot cut it.
        variables: the environment variables whose values are part of the record.
        processes: ``own`` when the build saw no other processes than its own, ``shared`` when it saw the system's.
    """

    epoch: int
    umask: int
    network: Network
    variables: Mapping[str, str]
    processes: Processes


def fixed(epoch: int) -> Fixed:
    """The fixed inputs of a build at ``epoch`` on this system."""
    return Fixed(
        epoch=epoch,
        umask=UMASK,
        network=without_network().network,
        processes=without_network().processes,
        variables={
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
            "SOURCE_DATE_EPOCH": str(epoch),
            "TZ": "UTC",
        },
    )


@functools.cache
def interpreter() -> Interpreter:
    """What this interpreter is; its executable is followed to the real file."""
    return Interpreter(
        implementation=platform.python_implementation(),
        version=platform.python_version(),
        sha256=hashlib.sha256(Path(sys.executable).resolve().read_bytes()).hexdigest(),
        platform=sysconfig.get_platform(),
        zlib=zlib.ZLIB_RUNTIME_VERSION,
    )


class Environment:
    """A fresh virtual environment in an empty directory; what is installed into it serves any number of builds.

    Args:
        directory: an empty directory that the environment may fill.
        inputs: the fixed inputs.

    Attributes:
        python: the environment's interpreter.
    """

    def __init__(self, directory: Path, inputs: Fixed) -> None:
        self._directory = directory
        self._inputs = inputs
        self.python = directory / "venv" / "bin" / "python"
        (directory / "wheels").mkdir()
        venv.EnvBuilder(symlinks=True, with_pip=False).create(directory / "venv")

    def install(self, wheels: Iterable[LockedWheel], house: Wheelhouse) -> None:
        """Install exactly these wheels, offline, from files that were hashed where they lie.

        Raises:
            Refused: ``build.unlocked``.
            Unreachable: ``unreachable.index``: they are not cached and the index does not answer.
        """
        wanted = tuple(wheels)
        if not wanted:
            return
        folder = self._directory / "wheels"
        house.fetch(wanted, folder)
        lock = self._directory / "lock.txt"
        lock.write_text(hashed_requirements(wanted))
        # A cache of its own and copies instead of hard links: nothing is shared with other environments.
        argv = [
            uv_program(), "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--require-hashes",
            "--no-config", "--no-cache", "--link-mode", "copy", "--find-links", os.fspath(folder),
            "--python", os.fspath(self.python), "--requirement", os.fspath(lock),
        ]  # fmt: skip
        room = self.room(self._directory / "installing")
        done = processes.run(argv, cwd=self._directory, environ=room.environ({}), seconds=BUILD_SECONDS)
        if done.status != 0:
            raise Refused("build.unlocked", "the locked wheels cannot be installed", found=done.tail())

    def state(self) -> dict[str, tuple[int, int, int]]:
        """Every file of the environment with its size, time and mode: what a build has no business to change.

        Compiled code is left out, which Python itself writes there.
        """
        found = {}
        for folder, folders, files in os.walk(self._directory):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in files:
                status = os.lstat(os.path.join(folder, name))
                place = os.path.relpath(os.path.join(folder, name), self._directory)
                found[place] = (status.st_size, status.st_mtime_ns, status.st_mode)
        return found

    def room(self, directory: Path, variables: Mapping[str, str] | None = None) -> Room:
        """A place to run commands in this environment.

        Args:
            directory: where its home and temporary directories are made; it may exist.
            variables: what takes the place of the fixed variables of these names.
        """
        return Room(self._directory / "venv", directory, self._inputs, variables or {})


class Room:
    """A home directory, a temporary directory and variables of its own, and commands run there with the fixed inputs.

    Attributes:
        log: what the commands printed so far.
    """

    def __init__(self, environment: Path, directory: Path, inputs: Fixed, variables: Mapping[str, str]) -> None:
        self._environment = environment
        self._directory = directory
        self._inputs = inputs
        self._variables = {**inputs.variables, **variables}
        self.log = bytearray()
        for name in ("home", "tmp"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def run(self, cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
        """Run one command of a build, without network where it can be cut; ``build.ProjectBuilder`` calls this.

        Raises:
            Refused: ``build.failed``, with the last lines of what it said.
        """
        done = processes.run(
            [*without_network().words, *cmd],
            cwd=Path(cwd) if cwd else self._directory,
            environ=self.environ(extra_environ or {}),
            seconds=BUILD_SECONDS,
            umask=self._inputs.umask,
            merge=True,
        )
        self.log += done.stdout
        if done.status != 0:
            what = "the build failed" if done.status is not None else f"the build took over {BUILD_SECONDS:.0f} s"
            alone = self._inputs.network == "none"
            raise Refused("build.failed", what, found=done.tail(), todo=_ALONE if alone else "")

    def environ(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a command."""
        return {
            **self._variables,
            "HOME": os.fspath(self._directory / "home"),
            "PATH": os.pathsep.join([os.fspath(self._environment / "bin"), os.defpath]),
            "TMPDIR": os.fspath(self._directory / "tmp"),
            "VIRTUAL_ENV": os.fspath(self._environment),
            **extra,
        }
