"""One at a time, across threads and processes: who publishes, and who does what is done once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verifier.errors import Unreachable

WAIT = 30.0
"""How long, in seconds, to wait for another publisher."""
PAUSE = 0.005
"""How long, in seconds, between two tries."""


@contextmanager
def exclusive(path: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold the lock file at ``path``. Each call has an open file of its own, so threads exclude each other too.

    Raises:
        Unreachable: ``io.failed`` when the lock is not to be had in time, or the file cannot be made.
    """
    with _opened(path) as descriptor:
        _acquire(descriptor, wait)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may still hold the descriptor


@contextmanager
def exclusive_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file at ``path`` if nobody else does; whether it is held.

    Raises:
        Unreachable: ``io.failed`` when the file cannot be made.
    """
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:  # a file system that knows no locks
            raise Unreachable("io.failed", "cannot lock the deployment", found=error.strerror or str(error)) from error
        try:
            yield True
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unreachable("io.failed", "cannot lock the deployment", found=error.strerror or str(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Unreachable(
                    "io.failed", "another process is publishing", todo="Try again when it has finished."
                ) from None
            time.sleep(PAUSE)
        else:
            return
