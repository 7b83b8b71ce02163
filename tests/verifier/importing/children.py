"""Hosts of their own for tests: a clean interpreter in which nothing but Loadlock can be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NEEDED = ("verifier", "msgspec", "packaging")  # what importing takes, and no more

DROP = "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
"""What makes a child of root's somebody who has no right of root's."""

PRELUDE = """
import sys
sys.path.append(sys.argv[1])
from pathlib import Path
from verifier.errors import PluginFailed, Refused
from verifier.importing import CodeCache, register
from verifier.private_cache import PrivateCache
from verifier.wheels.wheel import read_wheel

def serve(path):
    path = Path(path)
    return register(read_wheel(path.read_bytes(), path.name))

plugins = [serve(path) for path in sys.argv[2:]]
"""


def bare_directory(place: Path) -> Path:
    """A directory from which Loadlock alone can be imported."""
    place.mkdir(exist_ok=True)
    for name in NEEDED:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        link = place / name
        if not link.is_symlink():
            link.symlink_to(Path(spec.origin).parent)
    return place


def start_child(
    bare: Path,
    code: str,
    wheels: Iterable[Path],
    environ: Mapping[str, str] | None = None,
    before: Iterable[str] = (),
) -> subprocess.Popen[str]:
    """Start a host that has registered these wheels, as ``plugins``, and then runs the code.

    Args:
        bare: made by :func:`bare_directory`.
        code: what the host does.
        wheels: where the wheels lie.
        environ: its whole environment.
        before: the command that starts it, if it is not started as it is.
    """
    return subprocess.Popen(
        [*before, sys.executable, "-I", "-S", "-W", "error", "-c", PRELUDE + code, str(bare), *map(str, wheels)],
        cwd="/",
        env=dict(environ or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_child(
    bare: Path,
    code: str,
    wheels: Iterable[Path],
    environ: Mapping[str, str] | None = None,
    before: Iterable[str] = (),
) -> str:
    """What such a host prints; it must end well within a minute."""
    process = start_child(bare, code, wheels, environ, before)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output
