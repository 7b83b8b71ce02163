"""What the result pages have in common: where they were measured, and rows of medians and ratios."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]


def about(script: str, rounds: int) -> list[str]:
    """How it was measured, and on what."""
    return [
        f"    .venv/bin/python -m benchmarks.{script} --rounds {rounds} --write",
        "",
        f"Python {platform.python_version()}, Linux {platform.release().partition('-')[0]}, {platform.machine()}, "
        f"{os.cpu_count()} cores, shared with other work (load average {os.getloadavg()[0]:.1f} at the start); "
        f"loadlock {importlib.metadata.version('loadlock')}; {rounds} rounds, sides in turn. ms; ratios of medians.",
    ]


class _Row:
    """Makes the rows of one table."""

    def head(self, *ratios: str) -> list[str]:
        """The first two lines; ``ratios`` name what the ratios are to."""
        cells = ["side", "median", "p99", *ratios]
        return [f"| {' | '.join(cells)} |", f"|{'---|' * len(cells)}"]

    def __call__(self, name: str, values: Sequence[float], base: Sequence[float], *more: Sequence[float]) -> str:
        """One side: its samples in seconds, those that the ratio is to, and further pairs of both."""
        cells = [name, f"{statistics.median(values) * 1e3:.2f}", f"{percentile(values, 0.99) * 1e3:.2f}"]
        for ours, theirs in [(values, base), *zip(more[::2], more[1::2], strict=True)]:
            cells.append(f"{statistics.median(ours) / statistics.median(theirs):.3f}")
        return f"| {' | '.join(cells)} |"


row = _Row()
