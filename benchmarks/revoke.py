"""One call that revokes one artifact, until the signed list on disk names it; beside what the disk alone takes.

    .venv/bin/python -m benchmarks.revoke [--calls N] [--write]

revoke: :meth:`crl_server.service.Authority.revoke` on SQLite with ``synchronous=FULL``, all files synced.
floor: what any service of this kind has to wait for: two commits of SQLite in the same mode, and a new and a replaced
file, each synced and renamed, with their directories. The two are done in turn, so that whatever else the machine does
falls on both. ``--write`` replaces ``benchmarks/results/revoke.md``.
"""

from __future__ import annotations

import platform
import sqlite3
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Final, NamedTuple

from benchmarks.pages import options, show
from crl_server.revocation.revoking import Order
from crl_server.service import Authority
from tests.crl_server.deployments import digest, made
from verifier.files import write_atomic

TARGET_MS: Final = 10.0
WARM_UP: Final = 20


class Times(NamedTuple):
    """Milliseconds of each call, on the clock and of this process's processor time."""

    wall: list[float]
    cpu: list[float]


def main(words: Sequence[str]) -> None:
    """Measure, print, and write the page if asked to."""
    parser = options("revoke", "one revocation, beside what the disk alone takes")
    parser.add_argument("--calls", type=int, default=200)
    args = parser.parse_args(words)
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        page = report(args.calls, *measured(Path(folder), args.calls))
    show("revoke", page, keep=args.write)


def measured(folder: Path, calls: int) -> tuple[Times, Times]:
    """The times of ``calls`` revocations and of as many floors."""
    now = datetime.now(UTC).replace(microsecond=0)
    authority = made(folder / "deployment", now=now)
    floor = Floor(folder)
    revoke, beside = Times([], []), Times([], [])
    for number in range(WARM_UP + calls):
        kept = number >= WARM_UP
        timed(lambda number=number: revoke_one(authority, number, now), revoke if kept else None)  # type: ignore[misc]
        timed(lambda number=number: floor.once(number), beside if kept else None)  # type: ignore[misc]
    authority.close()
    floor.close()
    return revoke, beside


def revoke_one(authority: Authority, number: int, now: datetime) -> None:
    """One acknowledged revocation."""
    authority.revoke(Order((digest(number),), "malicious", ""), "local:benchmark", now)


class Floor:
    """The waiting alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "floor"
        self._folder.mkdir()
        self._database = sqlite3.connect(self._folder / "db", isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE t (line BLOB)"):
            self._database.execute(statement)

    def once(self, number: int) -> None:
        """Two commits and two files."""
        for _ in range(2):
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO t VALUES (?)", (b"x" * 400,))
            self._database.execute("COMMIT")
        write_atomic(self._folder / "segments" / str(number), b"x" * 16)
        write_atomic(self._folder / "head.json", b"x" * 1000)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()


def timed(call: Callable[[], None], times: Times | None) -> None:
    """Time one call, unless it only warms up."""
    wall, cpu = perf_counter(), process_time()
    call()
    if times is not None:
        times.wall.append((perf_counter() - wall) * 1000)
        times.cpu.append((process_time() - cpu) * 1000)


def report(calls: int, revoke: Times, floor: Times) -> str:
    """The page."""
    rows = [
        f"| {name} | {statistics.median(t.wall):.1f} | {statistics.quantiles(t.wall, n=10)[8]:.1f} | "
        f"{statistics.median(t.cpu):.1f} |"
        for name, t in (("revoke", revoke), ("floor", floor))
    ]
    ratio = statistics.median(revoke.wall) / statistics.median(floor.wall)
    verdict = "met" if statistics.median(revoke.wall) <= TARGET_MS else "missed"
    return "\n".join(
        [
            "# Revoking one artifact",
            "",
            f"{calls} calls, SQLite {sqlite3.sqlite_version}, Python {platform.python_version()}. To repeat:",
            "`.venv/bin/python -m benchmarks.revoke --write`.",
            "",
            "| | median ms | 9 of 10 within ms | median ms of processor time |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Ratio of the medians: {ratio:.1f}. Aim: a median of {TARGET_MS:.0f} ms, {verdict} in this run.",
            "",
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
