"""Runs other programs under a deadline, with their output bounded, in an environment that is given in full.

Each has a session of its own, so no signal for this process reaches it: what interrupts this process ends them here.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import IO, NamedTuple

from verifier.formats.strict_json import quoted

#: Output beyond this many bytes is not kept (the end is what explains a failure, so the end stays).
MAX_OUTPUT_BYTES = 16_000_000
#: How many lines of a failed program's output a person gets to see.
TAIL_LINES = 15
#: How lines begin that GitHub, Azure and GitLab take for commands of the job.
_COMMANDS = ("::", "##", "section_")
#: What runs at this moment, whichever thread waits for it.
_running: set[subprocess.Popen[bytes]] = set()


class Finished(NamedTuple):
    """How a program ended: its exit status (None: the deadline passed) and its bounded standard output and error."""

    status: int | None
    stdout: bytes
    stderr: bytes

    def tail(self) -> str:
        """The last lines of what it said, for an error message: nothing that a terminal or a CI system would obey."""
        text = (self.stdout + b"\n" + self.stderr).decode("utf-8", "replace")
        lines = [quoted(line.rstrip()) for line in text.splitlines() if line.strip()]
        return "\n".join(f"| {line}" if line.lstrip().startswith(_COMMANDS) else line for line in lines[-TAIL_LINES:])


def run(
    argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str], seconds: float, umask: int = -1, merge: bool = False
) -> Finished:
    """Run ``argv`` to its end, or until the deadline; then kill what is left of its process group.

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
        _running.add(process)
        try:
            ended = _ends(process, seconds)
        finally:  # also when somebody gave up on us
            _kill(process)
            status = process.wait()
            _running.discard(process)
        return Finished(status if ended else None, _end_of(out), _end_of(err))


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a program, and say whether it came in time. Its number stays its own: it is not reaped."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # no Linux, or one that forbids it: reaped, and what it left in its group goes on
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode is not None
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(handle)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGINT (Ctrl-C) and SIGTERM end every program that runs, in all threads, and leave no directory behind.

    SIGTERM then ends this process as it would have without; SIGINT raises KeyboardInterrupt. A signal that somebody
    else handles already, or that is ignored, stays as it is.
    """
    told: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for process in tuple(_running):
            _kill(process)
        raise KeyboardInterrupt

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = threading.current_thread() is threading.main_thread()
    taken = {number: before for number, before in usual.items() if ours and signal.getsignal(number) == before}
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, before in taken.items():
            signal.signal(number, before)
        if signal.SIGTERM in told:
            signal.raise_signal(signal.SIGTERM)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program, and all that it started in its group, also where it has ended itself."""
    if process.returncode is None:  # not yet reaped, so the group's number is still ours
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end_of(stream: IO[bytes]) -> bytes:
    handle = stream.fileno()
    size = os.fstat(handle).st_size
    kept = min(size, MAX_OUTPUT_BYTES)
    return os.pread(handle, kept, size - kept)
