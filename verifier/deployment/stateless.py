"""Stateless hosts: what an image ships, made ready for a process that may write elsewhere only.

The image holds an enrolment whose floor is what was seen when it was built, and the trust and list of that day. Each
process begins with them in a directory of its own, and forgets what it has seen when it ends: the shipped floor is all
that a replayed list meets, and so no expired list serves it for a tier's grace.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from verifier.deployment.home import Home
from verifier.errors import Unreachable
from verifier.files import write_atomic
from verifier.formats import strict_json

try:
    import fcntl
except ImportError:  # not a POSIX system: a process there cannot be forked
    fcntl = None  # type: ignore[assignment]

READ_IN_PLACE = ("wheels", "sets")
"""What is read where it was shipped."""


def ship(home: Home) -> Home:
    """Make an enrolled host, which has refreshed, one to be shipped: its floor is what it has seen.

    Raises:
        Refused: ``list.state``; Unreachable: ``io.failed``.
    """
    host = msgspec.structs.replace(home.host, floor=home.floor(home.state()), stateless=True)
    write_atomic(home.directory / "host.json", strict_json.dumps(host))
    return Home(home.directory)


def in_scratch(home: Home) -> Home:
    """What was shipped, in a temporary directory that this process may write and that is gone when it has ended.

    Raises:
        Unreachable: ``io.failed`` when there is no place for it.
        Refused: as :class:`Home`.
    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix="loadlock-"))
        atexit.register(_leave, scratch, _held(scratch))
        for name in READ_IN_PLACE:
            if (home.directory / name).is_dir():
                (scratch / name).symlink_to(home.directory.resolve() / name, target_is_directory=True)
        for source in home.directory.iterdir():
            if source.name in ("trust", "lists"):
                shutil.copytree(source, scratch / source.name)
            elif source.suffix == ".json":
                shutil.copy(source, scratch / source.name)  # with its mode: one file holds a token
        for folder in scratch.rglob("*"):
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o700)  # a read-only image is copied with its modes
    except (OSError, shutil.Error) as error:
        raise Unreachable("io.failed", "there is no place to write to", found=str(error)[:300]) from error
    return Home(scratch)


def _held(directory: Path) -> int:
    """A descriptor that says, for as long as any process has it, that somebody goes by the directory."""
    descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _leave(directory: Path, held: int) -> None:
    """Remove the directory when the last process ends: a forked child has it too, and may end first or last."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(held), os.stat(directory)):  # who becomes a daemon closes what it did not open
            os.close(held)
        alone = os.open(directory, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            if fcntl is not None:
                fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(alone)
