"""What runs, stamps and observation cost a plugin that reaches for nothing.

    .venv/bin/python -m benchmarks.stamps [--rounds N] [--write]

A host logs for itself: its handler formats each record and writes it away, alike on every side. A plugin's function
works for some milliseconds and logs ten records. It is called in three ways:

    plain      by itself: nothing is stamped, and no audit hook exists
    stamped    through the gate: a run, and its stamps on each record
    observed   the same with the audit hook

One process cannot measure this: a hook never leaves it. So each call is measured in forks of one process that has
loaded everything, which begin alike to the last byte; the sides take turns, and their order changes with each round.
``plain, again`` is the first side a second time, and ``plain, a copy`` the same source as an ordinary module: what
these differ by is the noise of the machine, and of where things lie in its memory. Processor time is what counts; the
shares are those of the least, which others disturbed least, and medians of what each round of forks gave. The second
table gives what one call and one record cost by themselves, so that other work can be judged by it.

``--write`` replaces ``benchmarks/results/stamps.md``.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import statistics
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Final

from benchmarks.pages import options, show
from benchmarks.tables import about, percentile
from tests.hosts import HostedDeployment
from verifier.clock import utc_now
from verifier.runtime import observation, stamps

WORK: Final = """
import hashlib, json, logging
logger = logging.getLogger("work")

def hello(rows, records=10):
    found = {}
    for number in range(rows):
        text = json.dumps({"row": number, "value": "x" * 200})
        found[number] = hashlib.sha256(text.encode()).hexdigest()
    for _ in range(records):
        logger.info("so many rows: %d", len(found))
    return len(found)
"""
ROWS: Final = 2_000
CALLS: Final = 10
"""How many calls a fork measures; two more warm it up."""
SMALL: Final = 500
"""How many calls that do next to nothing a fork measures."""
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
Call = Callable[[int, int], object]


def in_fork(prepare: Callable[[], Call], act: Callable[[Call], float]) -> float:
    """Seconds, measured in a fork of this process as it is now."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            gc.disable()  # when it comes depends on what was made before, not on what is measured
            os.write(writing, struct.pack("d", act(prepare())))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("a fork failed")
    return float(struct.unpack("d", data)[0])


def timed(count: int, rows: int, records: int) -> Callable[[Call], float]:
    """Processor seconds of one call, of so many."""

    def act(call: Call) -> float:
        for _ in range(2):
            call(rows, records)
        began = process_time()
        for _ in range(count):
            call(rows, records)
        return (process_time() - began) / count

    return act


def sides(plain: Call, copy: Call, gated: Call) -> Mapping[str, Callable[[], Call]]:
    """What each side prepares in its fork, and then calls."""

    def plainly() -> Call:
        stamps.uninstall()
        return plain

    def copied() -> Call:
        stamps.uninstall()
        return copy

    def stamped() -> Call:
        return gated

    def observed() -> Call:
        observation.install(utc_now)
        return stamped()

    return {
        "plain": plainly,
        "plain, again": plainly,
        "plain, a copy": copied,
        "stamped": stamped,
        "stamped and observed": observed,
    }


def measure(rounds: int, scratch: Path) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Seconds of the whole call by side and round; and medians of a call without records and of one record."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("work")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    copy: dict[str, Call] = {}
    exec(compile(WORK, "work.py", "exec"), copy)  # noqa: S102 - the same source as the plugin's
    with HostedDeployment(scratch) as hosted:
        path = hosted.plugin({"sample_plugin/__init__.py": WORK})
        gate = hosted.gate(observe=False)  # the forks of one side observe, and nobody else
        gate._observing = utc_now
        entry = gate.load(path).entry_point("exporters", "hello")
        entry(1, 0)
        all_sides = sides(entry.load(), copy["hello"], entry)
        whole: dict[str, list[float]] = {side: [] for side in all_sides}
        bare: dict[str, list[float]] = {side: [] for side in all_sides}
        logged: dict[str, list[float]] = {side: [] for side in all_sides}
        names = list(all_sides)
        for number in range(rounds):
            for side in names[number % len(names) :] + names[: number % len(names)]:
                whole[side].append(in_fork(all_sides[side], timed(CALLS, ROWS, 10)))
                bare[side].append(in_fork(all_sides[side], timed(SMALL, 0, 0)))
                logged[side].append((in_fork(all_sides[side], timed(SMALL, 0, 10)) - bare[side][-1]) / 10)
    parts = {
        side: {"call": statistics.median(bare[side]), "record": statistics.median(logged[side])} for side in all_sides
    }
    return whole, parts


def page(rounds: int) -> str:
    """The whole result page."""
    with TemporaryDirectory(prefix="loadlock-benchmark-") as place:
        whole, parts = measure(rounds, Path(place))
    lines = ["# What runs, stamps and observation cost", "", *about("stamps", rounds), ""]
    lines += ["Processor time of one call with ten log records.", ""]
    lines += [
        "| side | median, ms | p99, ms | least, ms | of the plain least | of the plain call, a round | 10th to 90th |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for side, values in whole.items():
        shares = [ours / theirs for ours, theirs in zip(values, whole["plain"], strict=True)]
        cells = [f"{number * 1e3:.3f}" for number in (statistics.median(values), percentile(values, 0.99), min(values))]
        cells += [f"{min(values) / min(whole['plain']):.4f}", f"{statistics.median(shares):.4f}"]
        cells.append(f"{percentile(shares, 0.1):.3f} to {percentile(shares, 0.9):.3f}")
        lines.append(f"| {' | '.join([side, *cells])} |")
    lines += ["", "Aim: at most 1.01. Each by itself:", "", "| side | a call, µs | a record, µs |", "|---|---|---|"]
    lines += [f"| {side} | {part['call'] * 1e6:.2f} | {part['record'] * 1e6:.2f} |" for side, part in parts.items()]
    base, most = parts["plain"], parts["stamped and observed"]
    added = (most["call"] - base["call"] + 10 * (most["record"] - base["record"])) * 1e3
    lines += ["", f"Added to this call, by the second table: {added * 1e3:.0f} µs,"]
    lines += [f"which is a hundredth of a call of {added * 1e2:.1f} ms that logs ten records.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, show, and with ``--write`` keep the page."""
    parser = options("stamps", "What runs, stamps and observation cost.")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    text = page(arguments.rounds)
    show("stamps", text, keep=arguments.write)


if __name__ == "__main__":
    main()
