"""Build published projects twice from their sdists, and compare with the wheels that were published.

    .venv/bin/python -m benchmarks.reproducibility [--project NAME]... [--write]
    .venv/bin/python -m benchmarks.reproducibility --pin NAME... > benchmarks/reproducibility/corpus.toml

Each project of ``corpus.toml`` is built as ``loadlock attest`` builds: in an environment of exactly the wheels that are
pinned, without network where the system can cut it, twice, under varied conditions. *Twice* says whether both were the
same bytes; *published* is the verdict of the comparison with the published wheel. SOURCE_DATE_EPOCH is the one time
that the published wheel states in all its entries, if it states one; else the newest time in the sdist. ``--write``
replaces ``benchmarks/results/reproducibility.md``.
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import os
import platform
import statistics
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attestor.building.apart import without_network
from attestor.building.compare import Candidate, Verdict, compare
from attestor.building.source import describe
from attestor.building.variation import VARIED, build_twice
from attestor.building.wheelhouse import Wheelhouse
from benchmarks.reproducibility.corpus import Project, dump_project, fetch_sdists, fetch_wheels, read_corpus
from benchmarks.reproducibility.pin import pin
from verifier.errors import LoadlockError

RESULTS: Final = Path(__file__).parents[1] / "results" / "reproducibility.md"


@dataclass(frozen=True)
class Outcome:
    """What became of one project: where its time came from, the words for both columns, what differs, and seconds."""

    project: Project
    clock: str
    twice: str
    published: str
    differs: str
    seconds: float


def attempt(project: Project, sdist: Path, folder: Path) -> Outcome:
    """Build one project twice, and compare."""
    house = Wheelhouse()
    fetch_wheels([project.wheel], folder)
    fetch_wheels(project.environment, folder / "environment")  # so that no download is on the clock
    source = describe(sdist)
    told = project.epoch is not None and abs(project.epoch - source.epoch) > 1  # a zip entry's time has two seconds
    clock = "wheel" if told else "sdist"
    if told and project.epoch is not None:
        source = replace(source, epoch=project.epoch)
    began = time.perf_counter()
    try:
        made = build_twice(source, house, now=datetime.now(UTC), locked=project.environment)
    except LoadlockError as error:
        return Outcome(project, clock, error.code, "not compared", error.what, time.perf_counter() - began)
    seconds = time.perf_counter() - began
    theirs = (folder / project.wheel.file_name).read_bytes()
    try:
        found = compare(
            Candidate("the wheel built", made.file_name, made.wheel),
            Candidate("the published wheel", project.wheel.file_name, theirs),
        )
    except LoadlockError as error:
        same = "the same bytes" if made.wheel == theirs else "other bytes"
        return Outcome(project, clock, "bit-identical", f"refused: {error.code} ({same})", error.what, seconds)
    kinds = collections.Counter(one.field.partition(",")[0].partition(" (")[0] for one in found.differences)
    differs = ", ".join(f"{kind} ×{count}" for kind, count in kinds.items())  # noqa: RUF001
    return Outcome(project, clock, "bit-identical", str(found.verdict), differs, seconds)


def report(outcomes: Sequence[Outcome]) -> str:
    """The whole result page."""
    twice = sum(one.twice == "bit-identical" for one in outcomes)
    identical = sum(one.published == Verdict.BIT_IDENTICAL for one in outcomes)
    told = sum(one.published == Verdict.BIT_IDENTICAL and one.clock == "wheel" for one in outcomes)
    headers = sum(one.published == Verdict.HEADERS for one in outcomes)
    seconds = statistics.median(one.seconds for one in outcomes)
    rows = [
        f"| {one.project.name} {one.project.version} | {_backend(one.project)} | {one.twice} | {one.clock} "
        f"| {one.published} | {one.differs or '–'} | {one.seconds:.1f} |"  # noqa: RUF001
        for one in sorted(outcomes, key=lambda one: (one.project.backend, one.project.name))
    ]
    lines = [
        "# Published projects, built again",
        "",
        "    .venv/bin/python -m benchmarks.reproducibility --write",
        "",
        f"Python {platform.python_version()}, zlib {zlib.ZLIB_RUNTIME_VERSION}, Linux "
        f"{platform.release().partition('-')[0]}, {platform.machine()}, {os.cpu_count()} cores; loadlock "
        f"{importlib.metadata.version('loadlock')}; network {without_network().network}; "
        f"{len(VARIED)} varied conditions.",
        "The backend is the version that the published wheel names; everything is pinned by hash in `corpus.toml`.",
        "Seconds are those of environment and both builds, side by side, without downloads.",
        "",
        f"- twice, all varied: {twice} of {len(outcomes)} bit-identical",
        f"- against the published wheel: {identical} bit-identical ({told} of them with the one time that the wheel "
        f"states as SOURCE_DATE_EPOCH), {headers} more given the zip header table",
        f"- median time of both builds: {seconds:.1f} s",
        "",
        "| project | backend | twice | time of | published | what differs | s |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)


def _backend(project: Project) -> str:
    versions = {wheel.name: wheel.version for wheel in project.environment}
    return f"{project.backend} {versions.get(project.backend, '(its own)')}"


def run(names: Sequence[str]) -> list[Outcome]:
    """Every project named, or all."""
    projects = [project for project in read_corpus() if not names or project.name in names]
    sdists = fetch_sdists(projects)
    outcomes = []
    for project in projects:
        with TemporaryDirectory(prefix="loadlock-benchmark-") as scratch:
            outcomes.append(attempt(project, sdists[project.name], Path(scratch)))
        last = outcomes[-1]
        sys.stderr.write(f"{project.name}: {last.twice}; {last.published}; {last.seconds:.1f} s\n")
    return outcomes


def main() -> None:
    """Run, and print or write the result."""
    parser = argparse.ArgumentParser(description="Build published projects twice, and compare with what was published.")
    parser.add_argument("--project", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--pin", nargs="+", metavar="NAME", help="look projects up and print them as corpus.toml")
    parser.add_argument("--write", action="store_true", help=f"replace {RESULTS.name}")
    arguments = parser.parse_args()
    if arguments.pin:
        sys.stdout.write("\n".join(map(dump_project, pin(arguments.pin))))
        return
    page = report(run(arguments.project))
    if arguments.write:
        RESULTS.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
