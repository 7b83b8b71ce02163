"""200 plugins in one host: a start through the gate, against plain imports of the same code.

    .venv/bin/python -m benchmarks.many [--plugins N] [--rounds N] [--write]

Each plugin is a package of six modules with the source of the standard library's own (argparse, csv, textwrap and
others), so that importing it costs what importing code costs. Every figure is from a process of its own, from its first
line to the moment when every plugin's entry point is there; the sides are run in turn.

    plain       the packages as pip installs them, their ``.pyc`` there
    gate        the wheels are verified and loaded by a gate with a cache, as an earlier start left it
    installed   what is installed is verified file by file, with a cache likewise
    first       as *gate*, with a cache that is empty
    source      as *plain*, without any ``.pyc``: what a first start compiles, such an import compiles too

The development environment has a cloud's SDK, which python-tuf's library of keys imports wherever it finds it, for
0.1 s of processor time; it is hidden from all sides here, since hosts that do not export lists have none.

``--write`` replaces ``benchmarks/results/many.md``.
"""

from __future__ import annotations

import copy
import inspect
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks.pages import options, show, write_bytecode
from benchmarks.tables import about, row
from tests.hosts import HostedDeployment
from tests.simulator.deployment import REPOSITORY
from tests.verifier.installations import install, sync

SOURCES: Final = ("argparse", "csv", "textwrap", "configparser", "fractions", "string")
SIDES: Final = ("plain", "gate", "installed", "first", "source")

PRELUDE: Final = """
import time
began, used = time.perf_counter(), time.process_time()
import sys
home, site, cache, *wheels = sys.argv[1:]
names = [wheel.rpartition("/")[2].partition("-")[0] for wheel in wheels]
"""
GATE: Final = """
from verifier import Gate
gate = Gate.open(home, cache=cache)
opened = time.perf_counter()
plugins = [{load} for wheel, name in zip(wheels, names)]
verified = time.perf_counter()
found = [plugin.entry_point("exporters", "hello").load() for plugin in plugins]
"""
PLAIN: Final = """
import importlib
sys.path.append(site)
opened = verified = time.perf_counter()
found = [importlib.import_module(name).hello for name in names]
"""
CODE: Final[Mapping[str, str]] = {
    "plain": PLAIN,
    "source": "sys.dont_write_bytecode, sys.pycache_prefix = True, '/nonexistent'\n" + PLAIN,
    "gate": GATE.format(load="gate.load(wheel)"),
    "first": GATE.format(load="gate.load(wheel)"),
    "installed": "sys.path.append(site)\n" + GATE.format(load="gate.load_installed(name)"),
}
POSTLUDE: Final = """
ended = time.perf_counter()
assert len(found) == len(wheels)
print(opened - began, verified - opened, ended - verified, time.process_time() - used)
"""


class Sample(NamedTuple):
    """Seconds until the gate is open, until all plugins are verified, until all are imported; of processor time."""

    opening: float
    verifying: float
    importing: float
    processor: float

    @property
    def total(self) -> float:
        """All on the clock."""
        return self.opening + self.verifying + self.importing


def make_plugins(hosted: HostedDeployment, count: int) -> list[Path]:
    """Signed wheels, and a policy that knows them all."""
    texts = {name: inspect.getsource(__import__(name)) for name in SOURCES}
    rule = hosted.sim.rules["plugins"]["sample_plugin"]
    rules = copy.deepcopy(hosted.sim.rules["plugins"])
    wheels = []
    for number in range(count):
        package = f"plugin_{number:03}"
        rules[package] = {**rule, "source": {"repository": REPOSITORY.format(package.replace("_", "-"))}}
        modules = {f"{package}/{name}_.py": f"# {number}\n{text}" for name, text in texts.items()}
        modules[f"{package}/__init__.py"] = (
            "".join(f"from {package} import {name}_\n" for name in SOURCES) + "def hello():\n    return 'hello'\n"
        )
        wheels.append(hosted.plugin(modules, name=package.replace("_", "-")))
    hosted.policy("plugins", rules)
    hosted.policy("tiers.core.assurance", "installed")
    hosted.refresh()
    return wheels


def run(side: str, hosted: HostedDeployment, site: Path, caches: Path, wheels: list[Path]) -> Sample:
    """One start of a host."""
    cache = caches / side
    if side == "first":
        shutil.rmtree(cache, ignore_errors=True)
    script = PRELUDE + CODE[side] + POSTLUDE
    script = f"import sys; sys.modules['boto3'] = None\n{script}"
    command = [sys.executable, "-I", "-c", script, hosted.directory, site, cache, *wheels]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Sample(*map(float, done.stdout.split()))


def measure(count: int, rounds: int) -> dict[str, list[Sample]]:
    """Samples by side; one round before the first is not counted."""
    samples: dict[str, list[Sample]] = {side: [] for side in SIDES}
    with TemporaryDirectory(prefix="loadlock-benchmark-") as place, HostedDeployment(Path(place)) as hosted:
        scratch = Path(place)
        wheels = make_plugins(hosted, count)
        site = install(scratch / "site", *wheels)
        sync(hosted, site)
        hosted.unload()
        (scratch / "caches").mkdir()
        for number in range(rounds + 1):
            for side in SIDES:
                sample = run(side, hosted, site, scratch / "caches", wheels)
                if number:
                    samples[side].append(sample)
            sys.stderr.write(f"\r{number}/{rounds} ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return samples


def page(count: int, rounds: int) -> str:
    """The whole result page."""
    samples = measure(count, rounds)
    lines = [f"# {count} plugins in one host", "", *about("many", rounds), ""]
    lines += [f"Each plugin has {len(SOURCES) + 1} modules. A process each, from its first line until all is imported."]
    lines.append("")
    lines += row.head("of plain", "processor time, of plain's")
    plain = samples["plain"]
    for side in SIDES:
        total, processor = [one.total for one in samples[side]], [one.processor for one in samples[side]]
        lines.append(row(side, total, [one.total for one in plain], processor, [one.processor for one in plain]))
    lines += ["", "Of these:", "", *row.head("of plain's importing")]
    importing = [one.importing for one in plain]
    for side in SIDES[1:]:
        for part in ("opening", "verifying", "importing"):
            lines.append(row(f"{side}: {part}", [getattr(one, part) for one in samples[side]], importing))
    lines += ["", "Aim: at most 1.2 times a start with plain imports.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, show, and with ``--write`` keep the page."""
    parser = options("many", "200 plugins in one host, against plain imports.")
    parser.add_argument("--plugins", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    write_bytecode()
    text = page(arguments.plugins, arguments.rounds)
    show("many", text, keep=arguments.write)


if __name__ == "__main__":
    main()
