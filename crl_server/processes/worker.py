"""A worker of a team: a process that :mod:`crl_server.processes.team` starts, and nobody else.

python -P -m crl_server.processes.worker ERRAND
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import cast

from crl_server.export.worker import exporters
from crl_server.operating import logs
from crl_server.operating.serving import utc_now
from crl_server.processes.board import Board
from crl_server.processes.chores import Chores, Reminder
from crl_server.processes.process import Process
from crl_server.processes.pulse import Pulses
from crl_server.processes.team import Errand
from crl_server.service import Authority
from verifier.errors import LoadlockError
from verifier.formats.tables import reader

FAILED = 1
"""The exit status of a worker that could not serve; the log says why."""

log = logging.getLogger("crl_server")


def main(words: list[str]) -> int:
    """Serve as the errand says; the exit status."""
    errand = reader(Errand).decode(words[0])
    with logs.configured(cast("logs.Format", errand.log_format), errand.log_level, worker=errand.number):
        try:
            with closing(Authority(Path(errand.directory))) as authority:
                _serve(authority, errand)
        except LoadlockError as error:
            log.error("this worker cannot serve: %s", error)
            return FAILED
        except Exception:
            log.exception("this worker met an error nobody foresaw")
            return FAILED
    return 0


def _serve(authority: Authority, errand: Errand) -> None:
    chores = Chores(authority, exporters(authority, authority.settings.export), utc_now, Reminder())
    process = Process(
        authority, utc_now, chores, Board(errand.sheets, errand.number), lambda: _tell(errand.started),
        partial(Pulses(errand.pulse).beat, errand.number),
    )  # fmt: skip
    process.end_when_told()
    threading.Thread(target=_outlive_nobody, args=(errand.lifeline, process), name="lifeline", daemon=True).start()
    try:
        # What the one before has committed and not published any more. Where that cannot be done now, others serve all
        # the same, and it is tried again with the chores.
        authority.reconcile(utc_now())
    except LoadlockError as error:
        log.error("the list could not be kept fresh: %s", error)
    with socket.socket(fileno=errand.listening) as listening:
        process.run(listening)


def _tell(started: int) -> None:
    os.write(started, b".")


def _outlive_nobody(lifeline: int, process: Process) -> None:
    """End when the parent has: nobody would watch this worker any more, nor end it."""
    os.read(lifeline, 1)
    process.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
