"""Real wheels, fetched from the package index by the hashes of ``real_wheels.toml``, and kept for the next time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

PINS = Path(__file__).with_name("real_wheels.toml")


@dataclass(frozen=True)
class Pin:
    """One exact wheel."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def place(self) -> Path:
        """Where it is kept."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(base, "loadlock", "wheels-of-tests", self.sha256, self.file)


@cache
def pins() -> dict[str, Pin]:
    """The wheel of each project that fits this interpreter best."""
    rank = {tag: number for number, tag in enumerate(sys_tags())}
    best: dict[str, tuple[int, Pin]] = {}
    for entry in tomllib.loads(PINS.read_text("utf-8"))["wheel"]:
        pin = Pin(**entry)
        fits = [rank[tag] for tag in parse_wheel_filename(pin.file)[3] if tag in rank]
        if fits and (pin.name not in best or min(fits) < best[pin.name][0]):
            best[pin.name] = (min(fits), pin)
    return {name: pin for name, (_, pin) in best.items()}


def fetch(names: Iterable[str]) -> list[Path]:
    """The wheels of these projects, fetched if they are not there yet. What has another hash is never kept.

    Raises:
        AssertionError: no wheel of a project is pinned for this interpreter, or the index has another.
    """
    wanted = list(names)
    missing = [name for name in wanted if name not in pins()]
    assert not missing, f"{PINS.name} names no wheel for this interpreter of {', '.join(missing)}"
    for pin in (pins()[name] for name in wanted):
        if not pin.place.is_file() or hashlib.sha256(pin.place.read_bytes()).hexdigest() != pin.sha256:
            _download(pin)
    return [pins()[name].place for name in wanted]


def _download(pin: Pin) -> None:
    pin.place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=pin.place.parent) as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", scratch, "--requirement", str(requirements)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        got = Path(scratch, pin.file)
        assert hashlib.sha256(got.read_bytes()).hexdigest() == pin.sha256
        got.replace(pin.place)
