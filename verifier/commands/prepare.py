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
_LIBRARY: Final = re.compile(r"\.so(\.[^/]+)?$")
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
                write_atomic(Path(place.path, name), content, _MODE)
                made += 1
    with _failing(directory):
        gone = [name for name in os.listdir(place.path) if _NAME.fullmatch(name) and name not in sizes]
        for name in gone:
            os.unlink(os.path.join(place.path, name))
    return Laid(sizes, count, made, len(gone))


def _made(directory: Path) -> RootsDirectory:
    """A directory in which root alone writes and removes; one that is made, everybody may read.

    Nothing is made, and no mode set, where somebody else could have put a link in its place by then.
    """
    from verifier.importing.prepared import RootsDirectory, require_roots

    real = Path(os.path.realpath(directory))
    missing = [place for place in (real, *real.parents) if not place.exists()]
    try:
        if missing:
            require_roots(str(missing[-1].parent), may_be_shared=True)
            for place in reversed(missing):
                place.mkdir()
                place.chmod(0o755)
        return RootsDirectory(str(real))
    except OSError as error:
        raise UsageError(
            "usage.configuration", "that directory cannot hold prepared libraries", found=error.strerror or str(error),
            expected="a directory of root, in directories of root, that nobody else can write to, on a local disk",
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
    """Whether a file is as it would be written: then it is not, so that no host has to verify it anew.

    Who opened it for writing before it was root's can write to it still: no lease is given then (fcntl(2)).
    """
    import fcntl  # which other systems than Linux lack

    try:
        with os.fdopen(directory.open(name), "rb") as stream:
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return stream.read(len(content) + 1) == content
    except OSError:
        return False


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings", metavar="FILE", help="the host's settings (default: loadlock.toml in the deployment directory)"
    )


def _prepare(args: argparse.Namespace, output: Output) -> int:
    if os.name != "posix" or os.geteuid() != 0:
        raise UsageError(
            "usage.arguments", "only root can lay out what hosts cannot change",
            todo="Run it as root, for example while an image is built.",
        )  # fmt: skip
    settings, place = _settings(args.settings or args.deployment)
    refused: list[dict[str, Any]] = []
    laid = lay_out(place, _wheels(settings, refused, output))
    total = sum(laid.sizes.values()) / (1 << 20)
    output.say(
        f"{len(laid.sizes)} libraries of {laid.wheels} wheels, {total:.1f} MiB, lie in {place}:"
        f" {laid.made} new, {laid.removed} removed."
    )
    output.result(
        {
            "ok": not refused,
            "directory": str(place),
            "libraries": sorted(laid.sizes),
            "made": laid.made,
            "removed": laid.removed,
            "refused": refused,
        }
    )
    return Refused.exit_status if refused else 0


def _settings(place: str | None) -> tuple[Settings, Path]:
    """The settings, which root alone can change, and the directory that they name: root writes and removes there."""
    from verifier.hosting.settings import Settings, settings_file
    from verifier.importing.prepared import require_roots

    file = settings_file(place)
    if not file.exists():
        raise _unsaid(f"no {file.name} in {str(file.parent)!a}")
    file = Path(os.path.realpath(file.parent), file.name)
    try:
        require_roots(str(file))
    except OSError as error:
        raise UsageError(
            "usage.configuration", "these settings cannot say where root is to write", found=str(error),
            expected="a file of root, and no link, in directories of root that nobody else can write to",
            todo="Keep the settings where root alone can change them, and name them with --settings.",
        ) from error  # fmt: skip
    settings = Settings.read(file)
    if settings.libraries is None:
        raise _unsaid(f"{file.name} without libraries")
    return settings, settings.libraries


def _unsaid(found: str) -> UsageError:
    return UsageError(
        "usage.configuration", "the host's settings do not say where libraries are to lie", found=found,
        expected="libraries = \"DIR\", and cache", todo="See docs/guides/host.md, 'Prepared libraries'.",
    )  # fmt: skip


def _wheels(settings: Settings, refused: list[dict[str, Any]], output: Output) -> Iterator[Files]:
    """The files of each wheel that the host might load, one after another; what is no wheel is noted."""
    from verifier.wheels.wheel_file import WheelFile

    house = settings.wheelhouse or settings.deployment / "wheels"
    for path in (*settings.wheels(), *sorted(house.glob("*.whl"))):
        try:
            yield WheelFile(path).snapshot().files
        except LoadlockError as error:  # a host goes on without it too
            output.say(f"{path.name!a}: {error}")
            refused.append({"file": path.name, "error": error.document()})


COMMAND = Command("host prepare", "lay out libraries of plugins where hosts run them uncopied", _configure, _prepare)
