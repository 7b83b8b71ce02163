"""What a host calls: register a snapshot, import its modules, and undo a load that failed.

Registering refuses (1) what this release or interpreter cannot load, (2) names that are already loaded, (3) names of
another registered plugin, (4) names that the host could import from elsewhere, and a second copy installed in the host.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import linecache
import os
import platform
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags

from verifier.errors import PluginFailed, Refused
from verifier.importing.code_cache import CodeCache
from verifier.importing.finder import Finder
from verifier.importing.loader import NamespaceLoader, Portion
from verifier.importing.modules import Modules
from verifier.importing.owners import Owner, release
from verifier.wheel import Snapshot
from verifier.wheel_paths import shown

MAX_HOST_FILES: Final = 10_000  # looked at in a directory of the host that bears a plugin's name

_UNINSTALL = "Remove the other copy from the host's environment: the plugin is served from the verified wheel."


class Registration:
    """A snapshot whose modules can be imported. Made by :func:`register`.

    Attributes:
        snapshot: the snapshot.
        owner: whom its modules are attributed to.
    """

    def __init__(self, portion: Portion) -> None:
        self._portion = portion
        self.snapshot = portion.modules.snapshot
        self.owner = portion.owner

    def import_module(self, name: str) -> ModuleType:
        """Import a module of this snapshot, and make sure that it came from there.

        When the very first import fails, nothing of the plugin stays in ``sys.modules``; later failures leave what was
        imported before, as Python does.

        Args:
            name: the full name.

        Raises:
            Refused: ``manifest.entry-point`` if the wheel holds no such module; ``wheel.shadowing`` if another import
                hook, something put into ``sys.modules``, or a library that was loaded before, served it or would
                have; ``wheel.unsupported`` if the system cannot load its compiled code safely.
            PluginFailed: ``plugin.failed``; the plugin's own error is the cause.
        """
        portion = self._portion
        if name in portion.ready:
            return portion.ready[name]
        if name not in portion.modules:
            raise Refused("manifest.entry-point", f"the wheel holds no module {shown(name)}")
        with portion.lock:
            is_first = not portion.executed
            try:
                _FINDER.install()
                portion.ready[name] = _import_from(portion, name)
            except BaseException:
                if is_first:
                    _forget(portion)
                raise
            return portion.ready[name]

    def unregister(self) -> None:
        """Serve the snapshot no longer, and drop its modules; for a load that failed, and for tests.

        Python cannot unload code: what already holds a function of the plugin can still call it.
        """
        with self._portion.lock, _LOCK:
            _FINDER.remove(self._portion)
            _forget(self._portion)
            if not _FINDER.portions:
                _FINDER.uninstall()


def register(snapshot: Snapshot, *, plugin_id: str = "", cache: CodeCache | None = None) -> Registration:
    """Make the modules, data and metadata of a snapshot importable. No code of the plugin runs yet.

    Args:
        snapshot: a wheel that was read and verified.
        plugin_id: what its modules are attributed to; the wheel's name if empty.
        cache: where compiled code is kept between processes; without one every module is compiled each time.

    Raises:
        Refused: ``wheel.unsupported``, ``plugin.preloaded`` or ``wheel.shadowing``; nothing was registered.
    """
    modules = Modules(snapshot)
    _check_loadable(modules)
    portion = Portion(modules, Owner(plugin_id or snapshot.name, snapshot.digest), cache)
    with _LOCK:
        for top_level in sorted(modules.top_levels):
            sharing = _FINDER.owners(top_level)
            if sharing:
                _check_shared(top_level, modules, sharing)
            else:
                _check_unloaded(top_level)
                _check_host(top_level)
        _check_installed(snapshot)
        _FINDER.add(portion)
        _FINDER.install()
    return Registration(portion)


def _check_loadable(modules: Modules) -> None:
    """This release and this interpreter can load the wheel (1)."""
    snapshot = modules.snapshot
    if modules.compiled and sys.platform != "linux":
        raise Refused(
            "wheel.unsupported",
            "the wheel holds compiled code, which can be loaded from memory on Linux only",
            found=shown(modules.compiled[0]),
            expected="modules in Python source",
        )
    if "py3-none-any" not in snapshot.tags and not any(str(tag) in snapshot.tags for tag in sys_tags()):
        found = shown(" ".join(sorted(snapshot.tags)))
        raise Refused("wheel.unsupported", "the wheel is for another interpreter or platform", found=found)
    required, running = snapshot.metadata.requires_python, platform.python_version()
    if not SpecifierSet(required).contains(running, prereleases=True):
        what = "the wheel is for another version of Python"
        raise Refused("wheel.unsupported", what, found=running, expected=shown(required), todo="Use another release.")


def _check_unloaded(top_level: str) -> None:
    """Nobody has put a module of that name into the interpreter yet (2)."""
    for name in list(sys.modules):
        if name == top_level or name.startswith(f"{top_level}."):
            origin = getattr(sys.modules.get(name), "__file__", None)
            raise Refused("plugin.preloaded", f"the module {name!r} is already loaded", found=shown(str(origin)))


def _check_shared(top_level: str, modules: Modules, sharing: tuple[Portion, ...]) -> None:
    """A name of another registered plugin may be shared as a namespace, if no module and no file is in both (3)."""
    for other in (portion.modules for portion in sharing):
        ours, theirs = modules.sources.keys(), other.sources.keys()
        clash = (ours & (theirs | other.namespaces)) | (theirs & modules.namespaces)
        clash |= {
            path for path in modules.snapshot.files.keys() & other.snapshot.files if path.startswith(f"{top_level}/")
        }
        if clash:
            raise Refused(
                "wheel.shadowing",
                f"the name {top_level!r} already belongs to the plugin {other.snapshot.name}",
                found=shown(min(clash)),
                expected="one owner for each module",
            )


def _check_host(top_level: str) -> None:
    """The host has nothing else of that name that it could import (4)."""
    importlib.invalidate_caches()
    for finder in sys.meta_path:
        find_spec = None if finder is _FINDER else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(top_level, None) if find_spec else None
        if spec is not None and not _is_hollow(spec):
            where = spec.origin or ", ".join(spec.submodule_search_locations or ())
            raise Refused(
                "wheel.shadowing",
                f"the host can import another {top_level!r}",
                found=shown(where),
                todo=_UNINSTALL,
            )


def _is_hollow(spec: ModuleSpec) -> bool:
    """Whether a spec is but a directory, which Python takes for a namespace, without a module anywhere below."""
    if spec.loader is not None or spec.submodule_search_locations is None:
        return False
    suffixes, budget = tuple(importlib.machinery.all_suffixes()), MAX_HOST_FILES
    for location in spec.submodule_search_locations:
        if not os.path.isdir(location):
            return False
        for _, _, files in os.walk(location, followlinks=True):
            budget -= 1 + len(files)
            if budget < 0 or any(file.endswith(suffixes) for file in files):
                return False
    return True


def _check_installed(snapshot: Snapshot) -> None:
    """Neither the host nor another registered plugin is, or brings, a distribution of that name (4)."""
    for found in importlib.metadata.distributions(name=snapshot.name):
        raise Refused(
            "wheel.shadowing",
            f"a distribution named {snapshot.name} is already there",
            found=shown(str(found.locate_file(""))),
            todo=_UNINSTALL,
        )


def _import_from(portion: Portion, name: str) -> ModuleType:
    """Import a module, and refuse it unless our loaders ran it and its parents."""
    try:
        module = importlib.import_module(name)
    except (KeyboardInterrupt, Refused):  # a refusal by a loader of ours, which found no safe way
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end the host
        raise PluginFailed("plugin.failed", f"importing {name} failed", found=shown(_describe(error))) from error
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        part = ".".join(parts[:depth])
        if not _was_served(portion, part):
            raise Refused("wheel.shadowing", f"something else than the verified wheel served {part!r}")
    return module


def _was_served(portion: Portion, name: str) -> bool:
    """Whether a loader of ours ran the module, or made the namespace."""
    if name in portion.modules.sources:
        return name in portion.executed
    return isinstance(getattr(sys.modules.get(name), "__loader__", None), NamespaceLoader)


def _describe(error: BaseException) -> str:
    """An error of a plugin in words; its ``__str__`` may fail, or be meant to."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _forget(portion: Portion) -> None:
    """Drop all traces of a portion's modules; what it shares with others stays."""
    for name in list(sys.modules):
        if _belongs(portion, name):
            module = sys.modules.pop(name)
            above, _, last = name.rpartition(".")
            parent = sys.modules.get(above) if above in portion.modules.namespaces else None
            if getattr(parent, "__dict__", {}).get(last) is module:
                delattr(parent, last)
    portion.executed.clear()
    portion.ready.clear()
    release(portion.owner)
    for cache in (linecache.cache, sys.path_importer_cache):
        for key in [key for key in cache if key.startswith(f"{portion.modules.root}/")]:
            del cache[key]


def _belongs(portion: Portion, name: str) -> bool:
    """Whether a loaded module is the portion's alone, by being in its wheel or below a top level that only it owns."""
    top_level = name.partition(".")[0]
    if top_level not in portion.modules.top_levels:
        return False
    if name in portion.modules.sources:
        return True
    return all(other is portion for other in _FINDER.owners(top_level))


def _after_fork() -> None:
    """A lock that another thread held when the process forked would never be freed in the child."""
    global _LOCK  # noqa: PLW0603 - replaced for the child, where no other thread exists yet
    _LOCK = threading.RLock()
    for portion in _FINDER.portions:
        portion.lock = threading.RLock()


# One for the process, like sys.meta_path and sys.modules, which they are about.
_FINDER = Finder()
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
