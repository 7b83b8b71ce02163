"""Source → wheel, and the record of how it was made.

The build requirements are locked in two phases, as PEP 517 has them: those that ``pyproject.toml`` names, then those
that the backend asks for once it runs. Both are installed from hashed files, without an index, and the build has no
network where the system can cut it.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from attestor.environment import Environment, Fixed, Interpreter, fixed, interpreter
from attestor.source import Source, export
from attestor.wheelhouse import LockedWheel, Wheelhouse
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.files import read_capped

if TYPE_CHECKING:
    from build import ProjectBuilder

#: The largest wheel that a build may make, in bytes.
MAX_WHEEL_BYTES = 200_000_000


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

    @property
    def sha256(self) -> str:
        """The wheel's sha256 in hex."""
        return hashlib.sha256(self.wheel).hexdigest()


def build(
    source: Source, house: Wheelhouse, *, now: datetime, config_settings: Mapping[str, str] | None = None
) -> BuildResult:
    """Build the wheel of ``source`` in a clean temporary directory.

    Args:
        source: what :func:`attestor.source.describe` found.
        house: where the build requirements come from.
        now: when the build starts, aware, UTC.
        config_settings: options for the build backend (PEP 517).

    Raises:
        Refused: ``source.*``, ``build.unlocked``, ``build.failed``.
        Unreachable: ``unreachable.index``.
    """
    began = time.monotonic()
    inputs = fixed(source.epoch)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="loadlock-build-")))
        for name in ("source", "environment", "out"):
            (scratch / name).mkdir()
        project = export(source, scratch / "source")
        environment = Environment(scratch / "environment", inputs)
        with _our_words(environment.log):
            builder = _builder(project, environment)
            wheels = _install_requirements(builder, environment, house, config_settings)
            made = Path(builder.build("wheel", scratch / "out", config_settings))
        return BuildResult(
            wheel=read_capped(made, MAX_WHEEL_BYTES, "the wheel"),
            file_name=made.name,
            source=source,
            inputs=wheels,
            interpreter=interpreter(),
            fixed=inputs,
            config_settings=dict(config_settings or {}),
            started=now,
            finished=now + timedelta(seconds=time.monotonic() - began),
            log=bytes(environment.log),
        )


def _builder(project: Path, environment: Environment) -> ProjectBuilder:
    from build import ProjectBuilder

    return ProjectBuilder(project, str(environment.python), runner=environment.run)


@contextmanager
def _our_words(log: bytearray) -> Iterator[None]:
    """Errors of ``build`` as ours, its warnings into the log; an error of ours comes out as it was."""
    try:
        from build import BuildBackendException, BuildException
    except ImportError as error:
        raise UsageError("usage.extra", "building needs build", expected="the extra loadlock[attestor]") from error
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield
        log += "".join(f"warning: {entry.message}\n" for entry in said).encode()
    except BuildBackendException as error:
        if isinstance(error.exception, LoadlockError):
            raise error.exception from None
        raise Refused("build.failed", "the build backend failed", found=str(error)) from error
    except BuildException as error:
        raise Refused("build.failed", "this is not a Python project that can be built", found=str(error)) from error


def _install_requirements(
    builder: ProjectBuilder, environment: Environment, house: Wheelhouse, settings: Mapping[str, str] | None
) -> tuple[LockedWheel, ...]:
    """Both phases of the build requirements, locked and installed; what was installed, sorted."""
    first_asked = builder.build_system_requires
    first = house.resolve(first_asked)
    environment.install(first, house)
    second_asked = builder.get_requires_for_build("wheel", settings) - first_asked
    if not second_asked:
        return first
    # What runs already stays as it is: the second phase only adds to it.
    both = house.resolve([*first_asked, *second_asked], pinned=first)
    environment.install(sorted(set(both) - set(first)), house)
    return both
