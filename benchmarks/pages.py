"""The page that a benchmark prints, and keeps below ``benchmarks/results`` where it is asked to."""

from __future__ import annotations

import argparse
import compileall
import sys
import sysconfig
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
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


def write_bytecode() -> None:
    """Have the bytecode of all that is installed here, and of this project, lie where interpreters look for it. Where
    the environment forbids to write it, each process would compile again, and the side that imports more would lose.
    """
    packages = (ROOT / name for name in ("verifier", "attestor", "crl_server", "loadlock"))
    for place in (sysconfig.get_path("purelib"), *map(str, packages)):
        compileall.compile_dir(place, quiet=2, workers=0)
