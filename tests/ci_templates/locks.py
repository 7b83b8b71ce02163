"""The two locks that a user of the templates keeps, made for this checkout of Loadlock, and the wheels they name."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from attestor.building.wheelhouse import prepare
from tests.project.tree import ROOT

#: Which of Loadlock each lock installs.
LOCKS = {"loadlock-build.lock": "attestor", "loadlock-sign.lock": ""}


def locks_and_wheels(folder: Path, house: Path) -> Path:
    """Write the two locks into ``folder``, and everything they name into ``house``.

    Args:
        folder: made here.
        house: a directory for wheels, made here; pip finds all it needs there.
    """
    folder.mkdir()
    built = _own_wheel(house)
    digest = hashlib.sha256(built.read_bytes()).hexdigest()
    for name, extra in LOCKS.items():
        others = _locked(_closure("loadlock", extra) - {"loadlock"})
        (folder / "others.lock").write_text(others)
        shutil.copytree(prepare(folder / "others.lock"), house, dirs_exist_ok=True)
        (folder / "others.lock").unlink()
        wanted = f"loadlock{f'[{extra}]' if extra else ''}=={version('loadlock')}"
        (folder / name).write_text(f"{wanted} \\\n    --hash=sha256:{digest}\n{others}")
    return house


def _own_wheel(house: Path) -> Path:
    """This checkout as a wheel, built by the locked backend of this environment."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(house), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = house.glob("loadlock-*.whl")
    return built


def _closure(name: str, extra: str) -> set[str]:
    """The distributions that one requires here, by normalised name, itself among them."""
    found: set[tuple[str, str]] = set()
    left = [(name, ""), *([(name, extra)] if extra else [])]
    while left:
        name, extra = left.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for text in requires(name) or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                other = canonicalize_name(wanted.name)
                left += [(other, ""), *((other, each) for each in wanted.extras)]
    return {name for name, _ in found}


def _locked(names: set[str]) -> str:
    """The part of the project's own lock that is about some distributions."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements" / "dev.lock").read_text(), flags=re.MULTILINE)
    kept = [entry for entry in entries if entry.partition("==")[0] in names]
    assert len(kept) == len(names), "the environment holds something that the lock does not"
    return "".join(kept)
