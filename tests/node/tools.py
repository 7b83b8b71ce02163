"""The programs on Node that tests run, installed once by the lock beside this file, and a Node that is new enough."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from attestor.building.wheelhouse import default_cache

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
NEEDED = (22, 22, 2)
"""The oldest Node that the locked packages accept."""


@dataclass(frozen=True)
class Tools:
    """A Node, and the folder of packages that the lock names."""

    node: Path
    modules: Path

    def command(self, script: str) -> list[str]:
        """The command that runs a script of a package."""
        return [os.fspath(self.node), os.fspath(self.modules / script)]


def node_tools() -> Tools:
    """What the lock names, installed where it is not yet."""
    machine = _node_of_machine()
    modules = _installed(with_node=machine is None) / "node_modules"
    nodes = [machine] if machine else sorted(modules.glob("node-linux-*/bin/node"))
    assert len(nodes) == 1, f"no Node {NEEDED} or newer, and the lock has none for this kind of machine"
    return Tools(nodes[0], modules)


def _node_of_machine() -> Path | None:
    """The machine's own Node, if it is new enough."""
    found = shutil.which("node")
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)\.(\d+)\.(\d+)", said)
    return Path(found) if version and tuple(map(int, version.groups())) >= NEEDED else None


def _installed(*, with_node: bool) -> Path:
    """A folder with what the lock names, by integrity hash; made once and kept by the lock's digest."""
    name = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:32] + ("-node" if with_node else "")
    place = default_cache().parent / "node" / name
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=".installing-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, made / name)
        # No package's own scripts are run. The Node in the lock is optional: npm takes the one for this machine.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", *([] if with_node else ["--omit=optional"])]
        done = subprocess.run(["npm", "ci", *options], cwd=made, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        made.rename(place)
    return place
