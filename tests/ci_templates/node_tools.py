"""gitlab-ci-local, installed once by the lock beside this file, and a Node that is new enough for it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from attestor.wheelhouse import default_cache

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
NODE_NEEDED = 22


def gitlab_ci_local() -> list[str]:
    """The command that runs GitLab's jobs on this machine."""
    machine = _node_of_machine()
    modules = _installed(with_node=machine is None) / "node_modules"
    nodes = [machine] if machine else sorted(modules.glob("node-linux-*/bin/node"))
    assert len(nodes) == 1, f"no Node {NODE_NEEDED} or newer, and the lock has none for this kind of machine"
    return [os.fspath(nodes[0]), os.fspath(modules / "gitlab-ci-local" / "dist" / "index.js")]


def _node_of_machine() -> Path | None:
    """The machine's own Node, if it is new enough."""
    found = shutil.which("node")
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)\.", said)
    return Path(found) if version and int(version[1]) >= NODE_NEEDED else None


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
