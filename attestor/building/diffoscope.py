"""A deeper look at how two wheels differ, by diffoscope, where that is installed. It decides nothing: it is for people.

It takes apart what a comparison of bytes cannot: compiled modules, archives inside the wheel, images. It starts other
programs on what it is given, and so gets no network where the system can cut it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attestor.building import processes
from attestor.building.apart import without_network
from attestor.building.compare import Candidate, Comparison, Verdict, compare
from verifier.formats.strict_json import quoted

#: How long it may take, in seconds.
DIFFOSCOPE_SECONDS: Final = 60.0
#: How much of its report is shown: lines, and characters of each.
MAX_LINES: Final = 60
MAX_WIDTH: Final = 160


def compare_deeply(one: Candidate, other: Candidate) -> Comparison:
    """As :func:`attestor.building.compare.compare`, with diffoscope's report where the wheels differ."""
    found = compare(one, other)
    return found if found.verdict == Verdict.BIT_IDENTICAL else replace(found, report=report(one, other))


def report(one: Candidate, other: Candidate) -> tuple[str, ...]:
    """What diffoscope says of two wheels, capped; empty where it is not installed, one line where it fails."""
    program = shutil.which("diffoscope")
    if program is None:
        return ()
    with TemporaryDirectory(prefix="loadlock-diffoscope-") as name:
        scratch = Path(name)
        for side, candidate in (("one", one), ("other", other)):
            (scratch / side).mkdir()
            (scratch / side / "wheel.whl").write_bytes(candidate.data)
        words = [program, "--no-progress", "--exclude-directory-metadata=yes", "--max-text-report-size=100000"]
        done = processes.run(
            [*without_network().words, *words, "--text=-", "one/wheel.whl", "other/wheel.whl"], cwd=scratch,
            environ={"HOME": name, "LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath), "TMPDIR": name},
            seconds=DIFFOSCOPE_SECONDS,
        )  # fmt: skip
    if done.status not in (0, 1):  # 1: they differ
        return ("diffoscope failed" if done.status is not None else "diffoscope took too long",)
    lines = [quoted(line)[:MAX_WIDTH] for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return ("diffoscope:", *lines[:MAX_LINES], *(("…",) if len(lines) > MAX_LINES else ()))
