"""One publisher at a time, across threads and processes."""

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
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unreachable("io.failed", "cannot lock the deployment", found=error.strerror or str(error)) from error
    try:
        _acquire(descriptor, wait)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may still hold the descriptor
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
