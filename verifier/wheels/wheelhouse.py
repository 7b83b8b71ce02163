"""The host's wheelhouse: a directory of wheels, out of which locked dependencies are taken.

Nothing is trusted because it lies there, and nothing but what a signed manifest names by digest is ever used: names of
files only say which ones to look at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from verifier.errors import UsageError
from verifier.files import anchored, read_capped
from verifier.formats.manifest import Dependency
from verifier.formats.packages import normalised, wheel_name
from verifier.wheels.wheel import DEFAULT_LIMITS

MAX_ENTRIES: Final = 20_000
"""How many files a wheelhouse may hold."""
MAX_CANDIDATES: Final = 100
"""How many files of one name and version are looked at: one for each platform there may be."""


class Wheelhouse:
    """Wheels in one directory, asked for by name and version.

    Args:
        directory: where they lie, whether or not it exists; a directory that does not exist is an empty wheelhouse.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = anchored(directory)

    def offers(self, dependency: Dependency) -> Iterator[tuple[str, bytes]]:
        """The wheels of that name and version: file name and content, each read once, sorted by file name.

        Raises:
            UsageError: ``io.failed``, ``format.too-large``: the wheelhouse, or a wheel that could be the one, cannot be
                read.
        """
        wanted = (dependency.name, str(dependency.version))
        candidates = [name for name in self._names(dependency.name) if _identity(name) == wanted]
        for name in sorted(candidates)[:MAX_CANDIDATES]:
            yield name, read_capped(self.directory / name, DEFAULT_LIMITS.archive, "the wheel")

    def _names(self, project: str) -> list[str]:
        """The files whose name begins with a project's. Listed each time: wheels are added while a host runs."""
        names: list[str] = []
        try:
            with os.scandir(self.directory) as entries:
                for count, entry in enumerate(entries, start=1):
                    if normalised(entry.name.partition("-")[0]) == project:
                        names.append(entry.name)
                    if count > MAX_ENTRIES:
                        raise UsageError(
                            "format.too-large", "the wheelhouse holds too many files",
                            found=repr(str(self.directory)), expected=f"at most {MAX_ENTRIES}",
                        )  # fmt: skip
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(
                "io.failed", f"cannot list the wheelhouse {str(self.directory)!r}", found=error.strerror or str(error)
            ) from error
        return names


def _identity(file_name: str) -> tuple[str, str] | None:
    """Normalised name and canonical version; None for what is no wheel by its name."""
    try:
        found = wheel_name(file_name)
    except ValueError:
        return None
    return found.name, found.version
