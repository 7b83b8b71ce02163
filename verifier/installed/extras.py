"""Installed mode: what lies beside the attested files, and could be taken for one of them.

Nothing of it is ever imported: for names that the wheel owns, only attested files exist. It is refused all the same,
because somebody put it there, and because a plain import elsewhere would take it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.machinery import all_suffixes
from typing import Final

from verifier.errors import Refused
from verifier.importing.modules import Modules
from verifier.installed.content import InstalledFiles
from verifier.wheels.wheel_paths import shown

MAX_LISTED: Final = 100_000
"""How many entries of one directory are looked at."""

_SUFFIXES: Final = (*all_suffixes(), ".pyw", ".pyo")
_BYTECODE: Final = "__pycache__"
_REMOVE: Final = "Find out who put it there, remove it, and install the wheel again."


def check_extras(modules: Modules) -> None:
    """Return when every attested file is there, and nothing that an import would prefer, or add to a package.

    In a package of the wheel, any module that RECORD does not name is refused. A directory that others may share (the
    site directory, a namespace) is looked at for the names of the wheel alone.

    Args:
        modules: the importable view of what is installed.

    Raises:
        Refused: ``installed.extra``, ``installed.link``, ``installed.missing``.
    """
    files, dist_info = modules.snapshot.files, modules.snapshot.dist_info
    if not isinstance(files, InstalledFiles):
        raise TypeError("these are not the files of an installation")
    inside: dict[str, set[str]] = {}
    for path in files:
        *parents, _ = path.split("/")
        for depth in range(len(parents) + 1):
            above = "/".join(parents[:depth])
            inside.setdefault(above, set()).add("/".join(path.split("/")[: depth + 1]))
    packages = {source.path.rpartition("/")[0] for source in modules.sources.values() if source.is_package}
    for directory, attested in sorted(inside.items()):
        if directory.partition("/")[0] != dist_info:
            _check_directory(files, directory, attested, is_own=_within(directory, packages))


def _within(directory: str, packages: Iterable[str]) -> bool:
    """Whether a directory is a package of the wheel, or lies in one."""
    return any(directory == package or directory.startswith(f"{package}/") for package in packages)


def _check_directory(files: InstalledFiles, directory: str, attested: set[str], *, is_own: bool) -> None:
    prefix = f"{directory}/" if directory else ""
    names = {path.removeprefix(prefix).partition(".")[0] for path in attested}
    missing = set(attested)
    for count, entry in enumerate(files.names(directory)):
        if count >= MAX_LISTED:
            raise Refused("installed.extra", f"{shown(directory)} holds too many files", expected=f"≤ {MAX_LISTED}")
        path = prefix + entry.name
        if path in attested:
            missing.discard(path)
            if entry.is_symlink():
                raise Refused("installed.link", f"{shown(path)} is a link", todo=_REMOVE)
        elif is_own or entry.name.partition(".")[0] in names:
            _check_extra(files, path, entry)
    if missing:
        raise Refused("installed.missing", f"{shown(min(missing))} is not there")


def _check_extra(files: InstalledFiles, path: str, entry: os.DirEntry[str]) -> None:
    if entry.name.endswith(_SUFFIXES) or (_is_package_name(entry) and _holds_module(files, path)):
        raise Refused(
            "installed.extra",
            "a module lies beside the plugin's own that is not of its wheel",
            found=shown(path),
            expected="the files that the wheel's RECORD names",
            todo=_REMOVE,
        )


def _is_package_name(entry: os.DirEntry[str]) -> bool:
    """Whether an import could name a directory, be it one or a link to one."""
    return entry.name != _BYTECODE and "." not in entry.name and (entry.is_symlink() or entry.is_dir())


def _holds_module(files: InstalledFiles, directory: str) -> bool:
    """Whether a module lies anywhere below a directory; one with too much in it to look through counts as if."""
    waiting, seen = [directory], 0
    while waiting:
        above = waiting.pop()
        for entry in files.names(above):
            seen += 1
            if entry.name.endswith(_SUFFIXES) or seen > MAX_LISTED:
                return True
            if _is_package_name(entry):
                waiting.append(f"{above}/{entry.name}")
    return False
