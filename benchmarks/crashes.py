"""Kills of whoever writes, on each engine: nothing acknowledged is lost or done twice, and every list verifies.

``.venv/bin/python -m benchmarks.crashes --write``. Any breach ends it with an error; the page only says how much was
tried. What is demanded after each kill stands in tests/crl_server/kills.py.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.pages import options, show
from tests import postgresql
from tests.crl_server.deployments import made
from tests.crl_server.kills import Outcome, kill_often


def main(words: Sequence[str]) -> None:
    """Kill, print, and write the page if asked to."""
    parser = options("crashes", "kill whoever writes, and look at what is left")
    parser.add_argument("--kills", type=int, default=150, help="on each engine")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    args = parser.parse_args(words)
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=Path.cwd())))
        server = stack.enter_context(postgresql.own())
        for engine, url in (("SQLite", ""), ("PostgreSQL", server.new_database())):
            authority = made(folder / engine, database=url)
            began = time.monotonic()
            rows.append((engine, kill_often(authority, args.kills, args.seed), time.monotonic() - began))
            authority.close()
    page = report(args.seed, rows)
    show("crashes", page, keep=args.write)


def report(seed: int, rows: Sequence[tuple[str, Outcome, float]]) -> str:
    """The page."""
    lines = [
        f"| {engine} | {found.kills} | {found.acknowledged} | {found.done_already} | 0 | 0 | {seconds:.0f} |"
        for engine, found, seconds in rows
    ]
    return "\n".join(
        [
            "# Killed at any moment",
            "",
            f"SQLite {sqlite3.sqlite_version} and PostgreSQL, both with fsync, Python {platform.python_version()}, "
            f"seed {seed}. To repeat:",
            f"`.venv/bin/python -m benchmarks.crashes --seed {seed} --write`.",
            "",
            "| engine | kills | acknowledged | committed, not acknowledged, asked again | lost | done twice | s |",
            "|---|---|---|---|---|---|---|",
            *lines,
            "",
            "After each kill: every acknowledged revocation is on the list on disk, the list verifies as hosts do, and",
            "the audit log is whole. At the end each revocation stands in the log exactly once.",
            "",
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
