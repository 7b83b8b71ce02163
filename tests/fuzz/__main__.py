"""A longer search: ``python -m tests.fuzz --minutes 10 [TARGET…]``; guided by coverage where atheris is installed.

Prints each input that brought a target to something else than a value or a refusal, and ends with status 1 then.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import subprocess
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition

from tests.fuzz.mutants import mutants
from tests.fuzz.targets import MAX_INPUT, TARGETS, feed, seeds_of

SLOW = 2.0
"""Seconds after which an input is told, though it was answered: somebody could send many of them."""


def search(target: str, seconds: float) -> bool:
    """Search without guidance for so many seconds; tells whether nothing was found."""
    end = time.monotonic() + seconds
    found: list[bytes] = []

    @settings(deadline=None, database=None, max_examples=2000, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def once(data: st.DataObject) -> None:
        if time.monotonic() < end:
            tried = data.draw(mutants(seeds_of(target)))
            found[:] = [tried]
            began = time.monotonic()
            feed(target, tried)
            if time.monotonic() - began > SLOW:
                _tell(target, tried, f"took {time.monotonic() - began:.1f} s")

    while time.monotonic() < end:
        try:
            once()
        except FlakyStrategyDefinition:
            if time.monotonic() < end:  # else it is our own end that made two runs differ
                raise
        except Exception:
            _tell(target, found[-1], traceback.format_exc())
            return False
    return True


def search_guided(target: str, seconds: float) -> bool:
    """The same, guided by coverage, in a process of its own, which libFuzzer ends."""
    with TemporaryDirectory() as name:
        for number, seed in enumerate(seeds_of(target)):
            Path(name, str(number)).write_bytes(seed)
        words = [sys.executable, "-m", "tests.fuzz.guided", target, f"-max_total_time={max(1, int(seconds))}"]
        options = [f"-max_len={MAX_INPUT}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={name}/found-"]
        done = subprocess.run([*words, *options, name], capture_output=True, text=True, check=False)
        for path in sorted(Path(name).glob("found-*")):
            _tell(target, path.read_bytes(), _words(done.stdout + done.stderr))
    return done.returncode == 0


def _words(told: str) -> str:
    """What a guided search says of its finding, without its progress."""
    return "\n".join(line for line in told.splitlines() if not line.startswith(("#", "INFO:")))[-3000:]


def _tell(target: str, data: bytes, what: str) -> None:
    sys.stdout.write(f"{target}: {what}\n  the input, in base64: {base64.b64encode(data).decode()}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Search in each target for its share of the time; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all targets together")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(sorted(TARGETS))}")
    options = parser.parse_args(arguments)
    targets = options.targets or sorted(TARGETS)
    method = search_guided if importlib.util.find_spec("atheris") else search
    outcomes = [method(target, options.minutes * 60 / len(targets)) for target in targets]
    sys.stdout.write(f"{len(targets)} targets, {outcomes.count(False)} with findings ({method.__name__})\n")
    return 1 if False in outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
