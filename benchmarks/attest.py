"""Attest and rebuild a small hatchling project, side by side with the two plain builds that attesting contains.

    .venv/bin/python -m benchmarks.attest [--rounds N] [--write]

Every figure is the wall time of one command (for *two builds*: of two, one after the other), as a person would type it,
process start included. Nothing is downloaded: all build requirements lie in a folder, which each side is given. The
sides are run in turn, round after round, so that whatever else the machine does falls on all of them alike.

    two builds, uv     python -m build --wheel --installer uv, twice
    two builds, pip    python -m build --wheel, twice
    attest             loadlock attest: lock, build twice under varied conditions, compare, describe, sign, verify
    attest --once      the same with one build
    rebuild            loadlock rebuild: from the signed provenance and a local clone to a signed verdict

``--write`` replaces ``benchmarks/results/attest.md``.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attestor.building.wheelhouse import prepare
from benchmarks.pages import options, show
from loadlock.stage import Stage, example_plugin

PLAIN: Final = "two builds, uv"
TARGET: Final = 2.0
REBUILD_TARGET: Final = 5.0


class Sides:
    """What is run: one method a side, in an order that lets each find what it needs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._house = prepare(example_plugin() / "build-requirements.lock")
        self._source = Stage(root).repository(example_plugin(), "csv-exporter")
        self._key, self._other = root / "builder.pem", root / "rebuilder.pem"
        for key in (self._key, self._other):
            self._run("-m", "loadlock", "key", "new", key)
        self.all: Mapping[str, Callable[[], None]] = {
            PLAIN: lambda: self._builds("--installer", "uv"),
            "two builds, pip": self._builds,
            "attest": self._attest,
            "attest --once": lambda: self._attest("--once"),
            "rebuild": self._rebuild,
        }

    def _builds(self, *words: str) -> None:
        for number in range(2):
            out = self._fresh(f"plain-{number}")
            self._run("-m", "build", "--wheel", *words, "--outdir", out, self._source)

    def _attest(self, *words: str) -> None:
        out = self._fresh("dist")
        options = ("--key", self._key, "--build-wheelhouse", self._house)
        self._run("-m", "loadlock", "attest", self._source, "-o", out, *options, *words)

    def _rebuild(self) -> None:
        (wheel,) = (self._root / "dist").glob("*.whl")
        options = ("--builder-key", f"{self._key}.pub", "--key", self._other, "--wheelhouse", self._house)
        self._run("-m", "loadlock", "rebuild", wheel, "--source", self._source, *options)

    def _fresh(self, name: str) -> Path:
        place = self._root / name
        shutil.rmtree(place, ignore_errors=True)
        return place

    def _run(self, *words: str | Path) -> None:
        folder = os.fspath(self._house)
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder,
            "UV_NO_INDEX": "1", "UV_FIND_LINKS": folder, "UV_OFFLINE": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=self._root, env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{words}: {done.stdout}{done.stderr}")


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, round by round; a round before the first warms the caches and is not counted."""
    seconds: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="loadlock-benchmark-") as name:
        sides = Sides(Path(name))
        for number in range(rounds + 1):
            for side, run in sides.all.items():
                began = time.perf_counter()
                run()
                if number:
                    seconds.setdefault(side, []).append(time.perf_counter() - began)
    return seconds


def report(seconds: Mapping[str, Sequence[float]]) -> str:
    """The whole result page."""
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    ratios = {
        side: statistics.median(one / plain for one, plain in zip(values, seconds[PLAIN], strict=True))
        for side, values in seconds.items()
    }
    rounds = len(seconds[PLAIN])
    lines = [
        "# Attest and rebuild, beside two plain builds",
        "",
        "    .venv/bin/python -m benchmarks.attest --write",
        "",
        f"Python {platform.python_version()}, Linux {platform.release().partition('-')[0]}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end; {rounds} "
        "rounds, in turn; `examples/csv-exporter` (hatchling), no downloads.",
        "Ratios are the median over the rounds of the ratio within each.",
        "",
        f"| side | median | fastest | slowest | of {PLAIN} |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {medians[side]:.2f} s | {min(values):.2f} s | {max(values):.2f} s | {ratios[side]:.2f} |"
            for side, values in seconds.items()
        ),
        "",
        f"Aims: attest at most {TARGET:.0f} times two plain builds ({ratios['attest']:.2f}: "
        f"{'met' if ratios['attest'] <= TARGET else 'missed'}); rebuild in at most {REBUILD_TARGET:.0f} s "
        f"({medians['rebuild']:.2f} s: {'met' if medians['rebuild'] <= REBUILD_TARGET else 'missed'}).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run, and print or write the result."""
    parser = options("attest", "Attest and rebuild, side by side with two plain builds.")
    parser.add_argument("--rounds", type=int, default=7, help="how often each side is run (default: 7)")
    arguments = parser.parse_args()
    page = report(measure(arguments.rounds))
    show("attest", page, keep=arguments.write)


if __name__ == "__main__":
    main()
