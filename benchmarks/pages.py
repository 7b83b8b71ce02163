"""The page that a benchmark prints, and keeps below ``benchmarks/results`` where it is asked to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).with_name("results")


def options(name: str, description: str) -> argparse.ArgumentParser:
    """The options of a benchmark, of which ``--write`` is everybody's."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true", help=f"replace {name}.md among the results")
    return parser


def show(name: str, page: str, *, keep: bool) -> None:
    """Print a page, and keep it."""
    sys.stdout.write(page)
    if keep:
        (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
