"""``host prepare``: lay out the libraries of a host's wheels as files of root, which the host runs without a copy.

A library lies under the sha256 of its content, so that it does not matter which wheel it came from, nor who reads it
back: a host takes it only for a library of a wheel that it has verified, and only with that content.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from verifier.command import Command, Output
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError

if TYPE_CHECKING:
    from verifier.hosting.settings import Settings
    from verifier.importing.prepared import RootsDirectory
    from verifier.wheels.snapshot import Files

_NAME: Final = re.compile(r"[0-9a-f]{64}")
_LIBRARY: Final = re.compile(r"\.so(\.[0-9.]+)?$")
_MODE: Final = 0o444


class Laid(NamedTuple):
    """What lies in a directory by now: sizes of its libraries by name, of how many wheels they are, how many libraries
    are new, and how many were removed.
    """

    sizes: dict[str, int]
    wheels: int
    made: int
    removed: int


def libraries_of(files: Files) -> Iterator[str]:
    """The paths of a wheel's libraries and extension modules."""
    return (path for path in files if _LIBRARY.search(path))


def lay_out(directory: Path, wheels: Iterable[Files]) -> Laid:
    """Write each library of these wheels under its sha256, and remove what is of none of them.

    Args:
        directory: is made if it is missing; of what is in it only files named like a sha256 are touched.
        wheels: the files of each.

    Raises:
        Unreachable: ``io.failed``.
        UsageError: ``usage.configuration`` for a directory in which others than root could exchange names.
    """
    from verifier.files import write_atomic

    place = _made(directory)
    sizes: dict[str, int] = {}
    count = made = 0
    for files in wheels:
        count += 1
        for path in libraries_of(files):
            name, content = files.sha256(path).hex(), files[path]
            sizes[name] = len(content)
            if not _is_there(place, name, content):
                write_atomic(directory / name, content, _MODE)
                made += 1
    with _failing(directory):
        gone = [name for name in os.listdir(directory) if _NAME.fullmatch(name) and name not in sizes]
        for name in gone:
            os.unlink(directory / name)
    return Laid(sizes, count, made, len(gone))


def _made(directory: Path) -> RootsDirectory:
    """A directory in which root alone writes and removes, and everybody reads."""
    from verifier.importing.prepared import RootsDirectory

    with _failing(directory):
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(0o755)
    try:
        return RootsDirectory(str(directory))
    except OSError as error:
        raise UsageError(
            "usage.configuration", "that directory cannot hold prepared libraries", found=error.strerror or str(error),
            expected="a directory of root, in directories of root, that nobody else can write to",
            todo="Name another, or change it.",
        ) from error  # fmt: skip


@contextmanager
def _failing(directory: Path) -> Iterator[None]:
    """Errors of the system as ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unreachable("io.failed", f"cannot write to {str(directory)!a}", found=reason) from error


def _is_there(directory: RootsDirectory, name: str, content: bytes) -> bool:
    """Whether a file is as it would be written: then it is not, so that no host has to verify it anew."""
    try:
        with os.fdopen(directory.open(name), "rb") as stream:
            return stream.read(len(content) + 1) == content
    except OSError:
        return False


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings", metavar="FILE", help="the host's settings (default: loadlock.toml in the deployment directory)"
    )


def _prepare(args: argparse.Namespace, output: Output) -> int:
    from verifier.hosting.settings import Settings

    settings = Settings.find(args.settings or args.deployment)
    if settings.libraries is None:
        raise UsageError(
            "usage.configuration", "the host's settings do not say where libraries are to lie",
            expected="libraries = \"DIR\", and cache", todo="See docs/guides/host.md, 'Prepared libraries'.",
        )  # fmt: skip
    if os.name != "posix" or os.geteuid() != 0:
        raise UsageError(
            "usage.arguments", "only root can lay out what hosts cannot change",
            todo="Run it as root, for example while an image is built.",
        )  # fmt: skip
    refused: list[dict[str, Any]] = []
    laid = lay_out(settings.libraries, _wheels(settings, refused, output))
    total = sum(laid.sizes.values()) / (1 << 20)
    output.say(
        f"{len(laid.sizes)} libraries of {laid.wheels} wheels, {total:.1f} MiB, lie in {settings.libraries}:"
        f" {laid.made} new, {laid.removed} removed."
    )
    output.result(
        {
            "ok": not refused,
            "directory": str(settings.libraries),
            "libraries": sorted(laid.sizes),
            "made": laid.made,
            "removed": laid.removed,
            "refused": refused,
        }
    )
    return Refused.exit_status if refused else 0


def _wheels(settings: Settings, refused: list[dict[str, Any]], output: Output) -> Iterator[Files]:
    """The files of each wheel that the host might load, one after another; what is no wheel is noted."""
    from verifier.wheels.wheel_file import WheelFile

    house = settings.wheelhouse or settings.deployment / "wheels"
    for directory in (*settings.plugins, house):
        for path in sorted(directory.glob("*.whl")):
            try:
                yield WheelFile(path).snapshot().files
            except LoadlockError as error:  # a host goes on without it too
                output.say(f"{path.name}: {error}")
                refused.append({"file": path.name, "error": error.document()})


COMMAND = Command("host prepare", "lay out libraries of plugins where hosts run them uncopied", _configure, _prepare)
