"""Source → wheel, and the record of how it was made.

The build requirements are locked in two phases, as PEP 517 has them: those that ``pyproject.toml`` names, then those
that the backend asks for once it runs. Both are installed from hashed files, without an index, and the build has no
network where the system can cut it.

A :class:`Workshop` is one environment with these requirements. Each build in it starts from the exported source anew,
in directories of its own, so that builds can run side by side and none sees what another left.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple

from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from attestor.building.environment import Environment, Fixed, Interpreter, Room, fixed, interpreter
from attestor.building.source import Source, clamp, export
from attestor.building.wheelhouse import LockedWheel, Wheelhouse
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.files import read_capped

if TYPE_CHECKING:
    from build import ProjectBuilder

#: The largest wheel that a build may make, in bytes.
MAX_WHEEL_BYTES = 200_000_000
Kind = Literal["wheel", "sdist"]
#: What stands in a build's log in place of the temporary directory, whose name is another each time.
_SCRATCH = b"$BUILD"


@dataclass(frozen=True)
class Conditions:
    """What a build must not depend on, beside its inputs.

    Args:
        directory: the name of the directory in which it runs, with its source, home and temporary directories.
        variables: environment variables that take the place of the fixed ones.
        spread: by how many seconds the files' times lie apart, beginning after the source's own; 0: all have that one.
    """

    directory: str = "build"
    variables: Mapping[str, str] = field(default_factory=dict)
    spread: int = 0


#: The conditions of the build that is recorded.
PLAIN = Conditions()


class Made(NamedTuple):
    """What one build made: the file name and bytes of the wheel (or sdist), and what the build printed."""

    file_name: str
    wheel: bytes
    log: bytes


@dataclass(frozen=True)
class Sdist:
    """The sdist that was built beside a wheel.

    Args:
        file_name: its file name.
        data: its bytes.
        same: whether a second build under other conditions gave the same bytes; None when there was none.
    """

    file_name: str
    data: bytes
    same: bool | None

    @property
    def sha256(self) -> str:
        """Its sha256 in hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def reproducibility(self) -> str:
        """What is known of it, in the words that the provenance uses."""
        return {True: "checked: bit-identical", False: "checked: differs", None: "not checked"}[self.same]


@dataclass(frozen=True)
class BuildResult:
    """A wheel and everything that went into it.

    Args:
        wheel: its bytes.
        file_name: the file name that the backend gave it.
        source: what was built.
        inputs: the wheels of the build environment, sorted.
        interpreter: the Python that built.
        fixed: the other inputs.
        config_settings: options that were passed to the backend.
        started, finished: when, in UTC.
        log: what the build printed.
        varied: under which other conditions a second build gave the same bytes; empty when there was none.
        sdist: the sdist that was built beside it; None when none was asked for.
    """

    wheel: bytes
    file_name: str
    source: Source
    inputs: tuple[LockedWheel, ...]
    interpreter: Interpreter
    fixed: Fixed
    config_settings: Mapping[str, str]
    started: datetime
    finished: datetime
    log: bytes
    varied: tuple[str, ...] = ()
    sdist: Sdist | None = None

    @property
    def sha256(self) -> str:
        """The wheel's sha256 in hex."""
        return hashlib.sha256(self.wheel).hexdigest()


def build(
    source: Source,
    house: Wheelhouse,
    *,
    now: datetime,
    config_settings: Mapping[str, str] | None = None,
    sdist: bool = False,
) -> BuildResult:
    """Build the wheel of ``source`` once, in a clean temporary directory.

    Args:
        source: what :func:`attestor.building.source.describe` found.
        house: where the build requirements come from.
        now: when the build starts, aware, UTC.
        config_settings: options for the build backend (PEP 517).
        sdist: build the sdist too.

    Raises:
        Refused: ``source.*``, ``build.unlocked``, ``build.failed``, ``build.outside``.
        Unreachable: ``unreachable.index``, ``io.failed``.
    """
    with workshop(source, house, config_settings=config_settings, sdist=sdist) as shop:
        made = shop.build(PLAIN)
        beside = shop.sdist(PLAIN) if sdist else None
    return shop.result(made, now=now, sdist=beside)


@contextmanager
def workshop(
    source: Source,
    house: Wheelhouse,
    *,
    config_settings: Mapping[str, str] | None = None,
    inputs: Fixed | None = None,
    locked: Sequence[LockedWheel] | None = None,
    sdist: bool = False,
) -> Iterator[Workshop]:
    """An environment in which ``source`` can be built, in a temporary directory that is removed afterwards.

    Args:
        source: what is to be built.
        house: where the build requirements come from.
        config_settings: options for the build backend.
        inputs: the fixed inputs; by default those of this system at the source's time.
        locked: exactly the wheels to install; by default the build requirements are resolved.
        sdist: what building an sdist requires is among them.

    Raises:
        Refused, Unreachable: as :func:`build`.
    """
    with TemporaryDirectory(prefix="loadlock-build-") as scratch:
        shop = Workshop(Path(scratch), source, dict(config_settings or {}), inputs or fixed(source.epoch))
        # Warnings are the process's own: caught here once, not by each of the builds that may run side by side.
        with warnings.catch_warnings(record=True) as said, _disk():
            warnings.simplefilter("always")
            shop.install(house, locked, sdist=sdist)
            yield shop
        shop.log += b"".join(dict.fromkeys(f"warning: {entry.message}\n".encode() for entry in said))


class Workshop:
    """An environment with the build requirements of one source.

    Attributes:
        wheels: what is installed, sorted.
        log: what was printed while the requirements were asked for.
    """

    def __init__(self, scratch: Path, source: Source, settings: dict[str, str], inputs: Fixed) -> None:
        self._began = time.monotonic()
        self._scratch = scratch
        self._source = source
        self._settings = settings
        self._inputs = inputs
        (scratch / "environment").mkdir()
        self._environment = Environment(scratch / "environment", inputs)
        self._installed: dict[str, tuple[int, int, int]] = {}
        self.wheels: tuple[LockedWheel, ...] = ()
        self.log = bytearray()

    def install(self, house: Wheelhouse, locked: Sequence[LockedWheel] | None, *, sdist: bool) -> None:
        """Install these wheels, or else what the source requires; see :func:`workshop`."""
        if locked is not None:
            self.wheels = tuple(sorted(locked))
            self._environment.install(self.wheels, house)
        else:
            self._resolve(house, ("wheel", "sdist") if sdist else ("wheel",))
        self._installed = self._environment.state()

    def _resolve(self, house: Wheelhouse, kinds: Sequence[Kind]) -> None:
        room, project = self._prepare(Conditions(directory="requirements"))
        with _our_words():
            builder = _builder(project, self._environment, room)
            self.wheels = _install_requirements(builder, self._environment, house, self._settings, kinds)
        self.log += self._without_scratch(room.log)

    def build(self, conditions: Conditions) -> Made:
        """Build the wheel once; builds with other directories may run at the same time.

        Raises:
            Refused: ``source.*``, ``build.failed``.
        """
        return self._build(conditions, "wheel")

    def sdist(self, *conditions: Conditions) -> Sdist:
        """Build the sdist under each of these conditions; the first is kept.

        Raises:
            Refused: as :meth:`build`.
        """
        first, *others = (
            self._build(replace(each, directory=f"sdist, {each.directory}"), "sdist") for each in conditions
        )
        self.log += first.log
        _require_sdist_name(first.file_name)
        same = all((each.file_name, each.wheel) == (first.file_name, first.wheel) for each in others)
        return Sdist(first.file_name, first.wheel, same if others else None)

    def _build(self, conditions: Conditions, kind: Kind) -> Made:
        room, project = self._prepare(conditions)
        out = self._scratch / conditions.directory / "out"
        out.mkdir()
        with _our_words():
            made = Path(_builder(project, self._environment, room).build(kind, out, self._settings))
        self._require_untouched()
        return Made(made.name, read_capped(made, MAX_WHEEL_BYTES, f"the {kind}"), self._without_scratch(room.log))

    def result(
        self, made: Made, *, now: datetime, varied: tuple[str, ...] = (), sdist: Sdist | None = None
    ) -> BuildResult:
        """The record of a build.

        Args:
            made: what it made.
            now: when the work began, aware, UTC.
            varied: under which other conditions the same bytes came out.
            sdist: the sdist that was built beside it.
        """
        return BuildResult(
            wheel=made.wheel,
            file_name=made.file_name,
            source=self._source,
            inputs=self.wheels,
            interpreter=interpreter(),
            fixed=self._inputs,
            config_settings=self._settings,
            started=now,
            finished=now + timedelta(seconds=time.monotonic() - self._began),
            log=bytes(self.log) + made.log,
            varied=varied,
            sdist=sdist,
        )

    def _require_untouched(self) -> None:
        """A build must not change what another one finds: the environment that all of them use."""
        now = self._environment.state()
        changed = sorted(
            place for place in now.keys() | self._installed.keys() if now.get(place) != self._installed.get(place)
        )
        if changed:
            raise Refused(
                "build.outside", "the build changed its own environment",
                found=", ".join(repr(place) for place in changed[:5]) + (" and more" if len(changed) > 5 else ""),
            )  # fmt: skip

    def _prepare(self, conditions: Conditions) -> tuple[Room, Path]:
        """A room of its own with the source in it; the project's directory."""
        place = self._scratch / conditions.directory
        (place / "source").mkdir(parents=True)
        project = export(self._source, place / "source")
        if conditions.spread:
            _spread_times(place / "source", self._source.epoch, conditions.spread)
        return self._environment.room(place, conditions.variables), project

    def _without_scratch(self, log: bytearray) -> bytes:
        return bytes(log).replace(os.fsencode(self._scratch), _SCRATCH)


def _require_sdist_name(file_name: str) -> None:
    try:
        parse_sdist_filename(file_name)
    except InvalidSdistFilename as error:
        raise Refused(
            "build.failed", "the build backend names its sdist otherwise than sdists are named",
            found=ascii(file_name[:200]), expected="NAME-VERSION.tar.gz",
        ) from error  # fmt: skip


def _spread_times(root: Path, epoch: int, seconds: int) -> None:
    """Give every file another time, all of them later than ``epoch``."""
    for number, path in enumerate(sorted(root.rglob("*")), 1):
        moment = clamp(epoch + number * seconds)
        os.utime(path, (moment, moment), follow_symlinks=False)


def _builder(project: Path, environment: Environment, room: Room) -> ProjectBuilder:
    from build import ProjectBuilder

    try:
        return ProjectBuilder(project, os.fspath(environment.python), runner=room.run)
    except ValueError as error:  # of pyproject_hooks, which has no error of its own for this
        raise Refused("build.failed", "backend-path leads out of the source", found=str(error)) from error


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that is full, or cannot be read, as an error of ours."""
    try:
        yield
    except OSError as error:
        raise Unreachable(
            "io.failed", "the build's files cannot be written", found=error.strerror or str(error)
        ) from error


@contextmanager
def _our_words() -> Iterator[None]:
    """Errors of ``build`` as ours; an error of ours comes out as it was."""
    try:
        from build import BuildBackendException, BuildException
    except ImportError as error:
        raise UsageError("usage.extra", "building needs build", expected="the extra loadlock[attestor]") from error
    try:
        yield
    except BuildBackendException as error:
        if isinstance(error.exception, LoadlockError):
            raise error.exception from None
        raise Refused("build.failed", "the build backend failed", found=str(error)) from error
    except BuildException as error:
        raise Refused("build.failed", "this is not a Python project that can be built", found=str(error)) from error


def _install_requirements(
    builder: ProjectBuilder,
    environment: Environment,
    house: Wheelhouse,
    settings: Mapping[str, str] | None,
    kinds: Sequence[Kind],
) -> tuple[LockedWheel, ...]:
    """Both phases of the build requirements, locked and installed; what was installed, sorted."""
    first_asked = builder.build_system_requires
    first = house.resolve(first_asked)
    environment.install(first, house)
    second_asked = set().union(*(builder.get_requires_for_build(kind, settings) for kind in kinds)) - first_asked
    if not second_asked:
        return first
    # What runs already stays as it is: the second phase only adds to it.
    both = house.resolve([*first_asked, *second_asked], pinned=first)
    environment.install(sorted(set(both) - set(first)), house)
    return both
