"""What the checks of a release share: what is checked and where, how a program is run there, and what is found."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attestor.building import processes
from attestor.building.apart import with_network
from attestor.checking.remarks import Remark
from attestor.describing.licences import Licences
from verifier.formats.findings import Check, CheckName

#: How long one check may take, in seconds.
CHECK_SECONDS = 1800.0


@dataclass(frozen=True)
class Ground:
    """What is checked, and where.

    Args:
        source: the source's tree, exported.
        wheel: the wheel's content, unpacked.
        scratch: an empty directory for whatever the tools leave.
        python: the interpreter that runs the tests.
        egress: the marker of the egress tests, or where they lie in the source.
        licences: what is known of licences.
        unseen: files of the source that were not exported, so that nobody can look at them.
    """

    source: Path
    wheel: Path
    scratch: Path
    python: str
    egress: str
    licences: Licences
    unseen: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """The outcome of a check, what a person should see of it, and what is told to CI systems."""

    check: Check
    shown: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def run(argv: Sequence[str], place: Path, environ: dict[str, str]) -> processes.Finished | str:
    """How it ended, or why it never began. It sees no other processes than its own where the system allows that."""
    if shutil.which(argv[0], path=environ["PATH"]) is None:
        return f"it cannot be started: {os.strerror(errno.ENOENT)}"
    try:
        return processes.run([*with_network().words, *argv], cwd=place, environ=environ, seconds=CHECK_SECONDS)
    except OSError as error:
        return f"it cannot be started: {error.strerror}"


def environ_of(scratch: Path, ground: Ground) -> dict[str, str]:
    """All that a tool gets to see of this machine: no token, no configuration, no home."""
    (scratch / "home").mkdir()
    return {
        "HOME": str(scratch / "home"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PATH": os.pathsep.join([str(Path(ground.python).parent), os.defpath]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(scratch),
        "TZ": "UTC",
    }


def read_json(path: Path) -> Any:
    """What a program left there; None when that cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def ended(done: processes.Finished, tool: str) -> str:
    """How a program ended that should have ended otherwise, in words."""
    return f"{tool} ended with {done.status}" if done.status is not None else f"it took over {CHECK_SECONDS:.0f} s"


def not_run(name: CheckName, tool: str, release: str, reason: str, output: str = "") -> Found:
    """A check that did not run, with the reason and, for a person, what was said instead."""
    check = Check(name=name, result="not-run", tool=tool if release else "", version=release, reason=reason)
    return Found(check, tuple(output.splitlines()))
