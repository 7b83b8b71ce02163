"""Site directories for tests, filled by the real installers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.hosts import HostedDeployment
from verifier.installed.installations import all_installations
from verifier.installed.sync import Fetched, fetch_for, of_the_policy

PIP = (sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check")
UV = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--no-index", "--no-deps")
HERE = ("--python", sys.executable)
INSTALLERS = {
    "pip": (*PIP, "--compile"),
    "uv": (*UV, *HERE, "--no-cache", "--compile-bytecode", "--link-mode", "copy"),
    "uv with links": (*UV, *HERE, "--link-mode", "symlink"),
}


def install(site: Path, *wheels: Path | str, by: str = "uv", options: tuple[str, ...] = ()) -> Path:
    """Install wheels into a site directory, with bytecode, and return it."""
    command = [*INSTALLERS[by], "--quiet", *options, "--target", str(site), *map(str, wheels)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return site


def sync(hosted: HostedDeployment, site: Path) -> list[Fetched]:
    """Fetch what the host needs of a site directory, as ``host sync`` does."""
    known = of_the_policy(all_installations([str(site)]), hosted.gate().ground.trust.policy)
    return fetch_for(hosted.home, known)
