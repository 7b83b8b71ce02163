"""Coverage of plugins that are loaded from memory: a plugin for coverage.py.

    # .coveragerc, or [tool.coverage] in pyproject.toml
    [run]
    plugins = loadlock.testing.coverage

    [loadlock.testing.coverage]
    checkouts = src                    # where a plugin's source lies; several are separated by commas
    copies = .coverage-plugins         # where what lies nowhere is written, to be reported on

Lines are credited to the file of a checkout that says the same as the verified module, or to a copy of it.
"""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coverage import CoveragePlugin, FileTracer

MARK = "loadlock:sha256:"
"""How the file names of modules begin that are loaded from memory."""


class MemorySources(CoveragePlugin):
    """Finds a file on disk for each module that is loaded from memory.

    Args:
        checkouts: directories in which a module's path inside its wheel is looked for.
        copies: the directory for the rest.
    """

    def __init__(self, checkouts: tuple[Path, ...], copies: Path) -> None:
        self._checkouts = checkouts
        self._copies = copies

    def file_tracer(self, filename: str) -> FileTracer | None:
        """Who tells where the lines of a module are credited to; None for what is not loaded from memory."""
        at = filename.find(MARK)
        if at < 0:
            return None
        name = filename[at:].replace("\\", "/")
        source = "".join(linecache.getlines(name))
        return _Credited(self._place(name.removeprefix(MARK), source))

    def file_reporter(self, filename: str) -> str:
        """Ordinary Python files are reported on."""
        return "python"

    def _place(self, name: str, source: str) -> Path:
        digest, _, inside = name.partition("/")
        for checkout in self._checkouts:
            candidate = checkout / inside
            if candidate.is_file() and candidate.read_text(encoding="utf-8") == source:
                return candidate
        copy = self._copies / digest / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source, encoding="utf-8")
        return copy


class _Credited(FileTracer):
    """One module's file on disk."""

    def __init__(self, place: Path) -> None:
        self._place = str(place.absolute())

    def source_filename(self) -> str:
        return self._place


def coverage_init(registry: Any, options: Mapping[str, str]) -> None:
    """What coverage.py calls."""
    checkouts = tuple(Path(text.strip()) for text in str(options.get("checkouts", "")).split(",") if text.strip())
    registry.add_file_tracer(MemorySources(checkouts, Path(options.get("copies", ".coverage-plugins"))))
