"""Verify and import ten packages, side by side with plain imports of the same files.

    .venv/bin/python -m benchmarks.imports [--rounds N] [--package NAME]... [--write]

Every figure is from a process of its own (``python -I -S``) that has loaded Loadlock's modules before the clock starts,
in every mode, so that what both sides share is counted on neither; those for compiled code, which a host imports with
its first compiled module in 0.8 ms, are among them. The modes are run in turn, round after round, so that whatever else
the machine does falls on all of them alike; ratios are also given of processor time, which a busy machine blurs less.

    plain    the package as pip installs it, its ``.pyc`` files there
    second   the wheel is read and checked, registered and imported; caches as an earlier start left them
    beside   the same, while another process runs that has imported it, and whose sealed libraries are used
    prepared the same, by a host that is not root and has its libraries laid out by ``loadlock host prepare``; measured
             where root runs this, who alone can lay them out
    first    the same, with caches that are empty
    floor    reading the wheels and taking their sha256, which a start does that does not know their files (no import)

``--write`` replaces ``benchmarks/results/imports.md``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from benchmarks.pages import options, show, write_bytecode
from tests.verifier.importing.children import bare_directory
from tests.verifier.importing.real_wheels import fetch, pins
from verifier.commands.prepare import lay_out
from verifier.wheels.wheel import read_wheel

NOBODY: Final = 65534
IS_ROOT: Final = os.geteuid() == 0
AIMED: Final = ("second", "beside", *(["prepared"] if IS_ROOT else []))
MODES: Final = ("plain", *AIMED, "first", "floor")
PURE_TARGET, COMPILED_TARGET = 1.2, 1.5


class Package(NamedTuple):
    """What is imported, and from which wheels."""

    statement: str
    wheels: tuple[str, ...]
    target: float


PACKAGES: Final[Mapping[str, Package]] = {
    "attrs": Package("import attrs", ("attrs",), PURE_TARGET),
    "rich": Package(
        "import rich.console, rich.progress, rich.table, rich.markdown",
        ("rich", "markdown-it-py", "mdurl", "pygments"),
        PURE_TARGET,
    ),
    "requests": Package(
        "import requests", ("requests", "urllib3", "idna", "certifi", "charset-normalizer"), PURE_TARGET
    ),
    "jinja2": Package("import jinja2", ("jinja2", "markupsafe"), PURE_TARGET),
    "orjson": Package("import orjson", ("orjson",), COMPILED_TARGET),
    "pydantic-core": Package("import pydantic_core", ("pydantic-core", "typing-extensions"), COMPILED_TARGET),
    "lxml": Package("from lxml import etree, html", ("lxml",), COMPILED_TARGET),
    "cryptography": Package(
        "from cryptography.hazmat.primitives.asymmetric import ec, ed25519", ("cryptography", "cffi"), COMPILED_TARGET
    ),
    "numpy": Package("import numpy", ("numpy",), COMPILED_TARGET),
    "pillow": Package("from PIL import Image, ImageDraw, ImageFont", ("pillow",), COMPILED_TARGET),
}

PRELUDE = """
import os, sys, time
mode, bare, cache, site, libraries, statement, *wheels = sys.argv[1:]
sys.path.append(bare)
from hashlib import sha256
from pathlib import Path
import verifier.importing.libraries
import verifier.importing.prepared
from verifier.importing import CodeCache, register
from verifier.private_cache import PrivateCache
from verifier.wheels.wheel_cache import SeenFiles
from verifier.wheels.wheel_file import WheelFile
if mode == "prepared":
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
begin, used = time.perf_counter(), time.process_time()
""".replace("NOBODY", str(NOBODY))

VERIFIED = """
cache = PrivateCache(cache)
seen = SeenFiles(cache)
for wheel in map(Path, wheels):
    register(WheelFile(wheel, seen).snapshot(), cache=CodeCache(cache, libraries or None))
verified = time.perf_counter()
exec(statement)
"""

CODE: Final[Mapping[str, str]] = {
    "plain": "sys.path.append(site)\nverified = begin\nexec(statement)",
    "second": VERIFIED,
    "beside": VERIFIED,
    "prepared": VERIFIED,
    "first": VERIFIED,
    "floor": "for wheel in wheels:\n    sha256(Path(wheel).read_bytes()).digest()\nverified = time.perf_counter()",
}

STAY = """
cache = PrivateCache(cache)
seen = SeenFiles(cache)
plugins = [register(WheelFile(wheel, seen).snapshot(), cache=CodeCache(cache)) for wheel in map(Path, wheels)]
exec(statement)
for plugin in plugins:
    for name in sorted(plugin.snapshot.top_levels & sys.modules.keys()):
        plugin.import_module(name)
print("ready", flush=True)
sys.stdin.read()
"""

POSTLUDE = """
end = time.perf_counter()
print(verified - begin, end - verified, time.process_time() - used)
"""


class Sample(NamedTuple):
    """Seconds until a package could be imported, from then until it was, and of processor time for both."""

    verify: float
    load: float
    processor: float

    @property
    def total(self) -> float:
        """Both on the clock."""
        return self.verify + self.load


class Bench(ExitStack):
    """The places that all runs share, and the processes beside which some run; these end when it is left."""

    def __init__(self, scratch: Path) -> None:
        super().__init__()
        self._others: dict[str, subprocess.Popen[str]] = {}
        self._bare = bare_directory(scratch / "bare")
        self._site = scratch / "site"
        self._caches = scratch / "caches"
        self._libraries = scratch / "libraries"
        scratch.chmod(0o755)
        self._python = _python_for_all(scratch / "python") if IS_ROOT else Path(sys.executable)
        self._wheels = scratch / "wheels"

    def install(self, packages: Sequence[str]) -> None:
        """Install the packages as pip does, and compile them."""
        wheels = fetch(sorted({name for package in packages for name in PACKAGES[package].wheels}))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--compile"]
        subprocess.run([*pip, "--target", str(self._site), *map(str, wheels)], check=True)
        self._wheels.mkdir()
        for wheel in wheels:
            shutil.copy(wheel, self._wheels)
        lay_out(self._libraries, (read_wheel(wheel.read_bytes(), wheel.name).files for wheel in wheels))

    def run(self, name: str, mode: str) -> Sample:
        """One import in a new process."""
        place = {"first": "new", "beside": f"{name}-beside", "prepared": f"{name}-prepared"}.get(mode, name)
        if mode == "beside" and name not in self._others:
            self._others[name] = self._stay(name)
        command = self._command(name, mode, self._caches / place, CODE[mode] + POSTLUDE)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        if mode == "first":
            shutil.rmtree(self._caches / place)
        return Sample(*map(float, done.stdout.split()))

    def _stay(self, name: str) -> subprocess.Popen[str]:
        """A process that has imported a package, and stays."""
        command = self._command(name, "beside", self._caches / f"{name}-beside", STAY)
        other = self.enter_context(subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True))
        if other.stdout is None or other.stdout.readline() != "ready\n":
            raise RuntimeError(f"{name} cannot be imported")
        return other

    def _command(self, name: str, mode: str, cache: Path, code: str) -> list[str]:
        package = PACKAGES[name]
        cache.parent.mkdir(exist_ok=True)
        if mode == "prepared" and not cache.exists():
            cache.mkdir(0o700)
            os.chown(cache, NOBODY, NOBODY)
        libraries = self._libraries if mode == "prepared" else ""
        wheels = [self._wheels / wheel.name for wheel in fetch(package.wheels)]
        arguments = [mode, self._bare, cache, self._site, libraries, package.statement, *wheels]
        return [str(self._python), "-I", "-S", "-c", PRELUDE + code, *map(str, arguments)]


def _python_for_all(place: Path) -> Path:
    """This interpreter, in a place where users that are not root may read it too."""
    base = Path(sys.base_prefix)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    unused = shutil.ignore_patterns("test", "site-packages", "idlelib", "config-*")
    shutil.copytree(base / "lib" / name, place / "lib" / name, symlinks=True, ignore=unused)
    (place / "bin").mkdir()
    return Path(shutil.copy2(base / "bin" / name, place / "bin" / name))


def measure(packages: Sequence[str], rounds: int) -> dict[str, dict[str, list[Sample]]]:
    """Samples by package and mode, taken in turn; one round before the first is not counted."""
    samples: dict[str, dict[str, list[Sample]]] = {name: {mode: [] for mode in MODES} for name in packages}
    with TemporaryDirectory(prefix="loadlock-benchmark-") as scratch, Bench(Path(scratch)) as bench:
        bench.install(packages)
        for number in range(rounds + 1):
            for name in packages:
                for mode in MODES:
                    sample = bench.run(name, mode)
                    if number:
                        samples[name][mode].append(sample)
            sys.stderr.write(f"\r{number}/{rounds} ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return samples


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]


def times(name: str, modes: Mapping[str, Sequence[Sample]]) -> str:
    """One package in the table of times: ms, median and p99."""

    def cell(values: Sequence[float]) -> str:
        return f"{statistics.median(values) * 1e3:.1f} / {percentile(values, 0.99) * 1e3:.1f}"

    second = modes["second"]
    parts = [cell([sample.verify for sample in second]), cell([sample.load for sample in second])]
    return f"| {' | '.join([name, *(cell([sample.total for sample in modes[mode]]) for mode in MODES), *parts])} |"


def ratios(name: str, modes: Mapping[str, Sequence[Sample]]) -> str:
    """One package in the table of ratios to a plain import: on the clock, and of processor time."""
    clock = {mode: statistics.median(sample.total for sample in modes[mode]) for mode in MODES}
    processor = {mode: statistics.median(sample.processor for sample in modes[mode]) for mode in MODES}
    target, cells = PACKAGES[name].target, []
    for mode in AIMED:
        ratio = clock[mode] / clock["plain"]
        cells += [f"{ratio:.2f}", f"{processor[mode] / processor['plain']:.2f}", "yes" if ratio <= target else "no"]
    cells.append(f"{clock['first'] / clock['plain']:.1f}")
    return f"| {' | '.join([name, f'≤ {target}', *cells])} |"


def table(head: Sequence[str], rows: Iterable[str]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows, ""]


def report(samples: Mapping[str, Mapping[str, Sequence[Sample]]], rounds: int) -> str:
    """The whole result page."""
    versions = sorted({(pins()[w].name, pins()[w].version) for name in samples for w in PACKAGES[name].wheels})
    aims = [words for mode in AIMED for words in (f"{mode}, clock", "processor", "met")]
    lines = [
        "# Verify and import, against a plain import",
        "",
        "    .venv/bin/python -m benchmarks.imports --rounds " + f"{rounds} --write",
        "",
        f"Python {platform.python_version()}, Linux {platform.release().partition('-')[0]}, {platform.machine()}, "
        f"{os.cpu_count()} cores; loadlock {importlib.metadata.version('loadlock')}; {rounds} rounds, modes in turn.",
        "*Second* is a second start, alone; *beside* one while another process of the same user runs that has imported",
        "the package, too; *prepared* one of a host that is not root and runs libraries where root has laid them out;",
        "*first* a start with empty caches. *Floor* is reading these wheels and taking their sha256, which is left out",
        "for files that were left alone.",
        "",
        "Ratios of medians to a plain import, on the clock and of processor time:",
        "",
        *table(["package", "aim", *aims, "first, clock"], (ratios(name, modes) for name, modes in samples.items())),
        "Times in ms, median / p99. *Verify* is reading and checking the wheel, with its dependencies' wheels, and",
        "registering it; signatures and policy are not part of it.",
        "",
        *table(
            ["package", *MODES, "of second: verify", "of second: import"],
            (times(name, modes) for name, modes in samples.items()),
        ),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions) + ".",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run, and print or write the result."""
    parser = options("imports", "Verify and import ten packages, against plain imports.")
    parser.add_argument("--rounds", type=int, default=30, help="counted rounds (default: 30)")
    parser.add_argument("--package", action="append", choices=list(PACKAGES), help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, help="also write every sample, as seconds, to this file")
    arguments = parser.parse_args()
    write_bytecode()
    samples = measure(arguments.package or list(PACKAGES), arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(samples), encoding="utf-8")
    page = report(samples, arguments.rounds)
    show("imports", page, keep=arguments.write)


if __name__ == "__main__":
    main()
