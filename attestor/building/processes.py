"""Runs other programs under a deadline, with their output bounded, in an environment that is given in full."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

#: Output beyond this many bytes is not kept (the end is what explains a failure, so the end stays).
MAX_OUTPUT_BYTES = 16_000_000
#: How many lines of a failed program's output a person gets to see.
TAIL_LINES = 15


class Finished(NamedTuple):
    """How a program ended: its exit status (None: the deadline passed) and its bounded standard output and error."""

    status: int | None
    stdout: bytes
    stderr: bytes

    def tail(self) -> str:
        """The last lines of what it said, for an error message."""
        text = (self.stdout + b"\n" + self.stderr).decode("utf-8", "replace")
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-TAIL_LINES:])


def run(
    argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], seconds: float, umask: int = -1, merge: bool = False
) -> Finished:
    """Run ``argv`` to its end, or kill its whole process group at the deadline.

    Args:
        argv: the program and its arguments.
        cwd: its working directory.
        environ: its whole environment; nothing is inherited beside it.
        seconds: the deadline.
        umask: its umask; -1 keeps ours.
        merge: its standard error goes into its standard output, in order.

    Raises:
        OSError: the program cannot be started.
    """
    with TemporaryFile() as out, TemporaryFile() as err:
        process = subprocess.Popen(
            list(argv), cwd=cwd, env=dict(environ), stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT if merge else err, umask=umask, start_new_session=True,
        )  # fmt: skip
        status: int | None
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)  # not yet reaped, so the group's number is still ours
            process.wait()
        return Finished(status, _end_of(out), _end_of(err))


def _end_of(stream: IO[bytes]) -> bytes:
    handle = stream.fileno()
    size = os.fstat(handle).st_size
    kept = min(size, MAX_OUTPUT_BYTES)
    return os.pread(handle, kept, size - kept)
