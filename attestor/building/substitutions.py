"""What git puts into files while it exports them (``export-subst``), as far as a commit does not fix it.

``$Format:%H$`` becomes the commit's own number wherever it is exported. ``$Format:%D$`` or ``%(describe)`` becomes what
the clone at hand calls it: its branches and tags, which somebody else's clone need not have, and nobody may know.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from attestor.building.git import run_git
from verifier.errors import Refused
from verifier.formats.strict_json import quoted

# gitformat-commit's own fields (git-log(1), "pretty formats"): nothing of the clone, its settings or the clock.
_FIXED = re.compile(rb"%(?:[HTPsfbBen%]|[ac][neltiIs]|x[0-9a-fA-F]{2})")
_FORMAT = re.compile(rb"\$Format:([^$]*)\$")


def refuse_substitutions(directory: Path, commit: str, tree: Path) -> None:
    """Demand that nothing was put into the export but what the commit fixes.

    Args:
        directory: where in the repository the project lies.
        commit: what was exported.
        tree: where it was exported to.

    Raises:
        Refused: ``source.unusable``.
    """
    for name in _holding_formats(directory, commit):
        exported = tree / os.fsdecode(name)
        if exported.is_symlink() or not exported.is_file():
            continue  # kept out of the export
        written = run_git(directory, "cat-file", "blob", f"{commit}:./{os.fsdecode(name)}")
        if _without_line_ends(exported.read_bytes()) == _without_line_ends(written):
            continue  # no attribute says that it is filled in
        for text in _FORMAT.findall(written):
            if b"%" in _FIXED.sub(b"", text):
                raise Refused(
                    "source.unusable", "git puts into the source what this clone says, and the commit does not",
                    found=f"$Format:{quoted(text.decode('utf-8', 'replace'))[:80]}$ in {os.fsdecode(name)[:200]!a}",
                    expected="placeholders of the commit itself alone, such as %H and %cI",
                    todo="Write the version down instead of deriving it from tags, or build an sdist and attest that.",
                )  # fmt: skip


def _without_line_ends(data: bytes) -> bytes:
    return data.replace(b"\r", b"").replace(b"\n", b"")


def _holding_formats(directory: Path, commit: str) -> list[bytes]:
    """The files of a commit that hold a format, whether or not attributes say that it is filled in."""
    words = ("grep", "-a", "-z", "-l", "-F", "-e", "$Format:", commit, "--", ".")
    said = run_git(directory, *words, fine=(0, 1))  # 1: there are none
    return [entry.partition(b":")[2] for entry in said.split(b"\0") if entry]
