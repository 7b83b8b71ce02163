"""What a host calls: register a snapshot, import its modules, and undo a load that failed.

What registering refuses, :mod:`verifier.importing.clashes` says. A plugin's locked dependencies are registered with it,
all or nothing; plugins that lock the same wheel share it.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from types import ModuleType
from typing import Final

from verifier.collecting import seldom
from verifier.errors import PluginFailed, Refused
from verifier.importing import environment
from verifier.importing.clashes import check_clashes
from verifier.importing.code_cache import CodeCache
from verifier.importing.finder import Finder, Served
from verifier.importing.loader import ModuleLoader, NamespaceLoader, Portion
from verifier.importing.modules import Modules
from verifier.importing.owners import Owner, release
from verifier.wheels.wheel import Snapshot
from verifier.wheels.wheel_paths import shown

LOOKED_LATELY: Final = 0.5
"""For how many seconds the host's finders are not asked to look at their directories again."""


class Registration:
    """A snapshot whose modules can be imported. Made by :func:`register`.

    Attributes:
        snapshot: the snapshot.
        owner: whom its modules are attributed to.
        dependencies: the wheels of its locked dependencies, as they are served: one copy for all plugins that share it.
    """

    def __init__(self, portion: Portion, owner: Owner) -> None:
        self._portion = portion
        self.snapshot = portion.modules.snapshot
        self.owner = owner
        self.dependencies = tuple(dependency.modules.snapshot for dependency in portion.dependencies)

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
                with seldom():
                    portion.ready[name] = _import_from(portion, name)
            except BaseException:
                if is_first:
                    _forget((portion,), _traces((portion,)))
                raise
            for each in (portion, *portion.dependencies):
                each.tell()
            return portion.ready[name]

    def heed(self, standing: Callable[[], object]) -> None:
        """Serve no module from the moment on in which ``standing`` raises PluginRevoked; what was imported stays."""
        self._portion.standing = standing

    def unregister(self) -> None:
        """Serve the snapshot no longer, nor dependencies that only it used, and drop their modules; for a load that
        failed, and for tests.

        Python cannot unload code: what already holds a function of the plugin can still call it.
        """
        with self._portion.lock, _LOCK:
            _withdraw(self._portion)
            if not _FINDER.portions:
                _FINDER.uninstall()


def register(
    snapshot: Snapshot,
    *,
    plugin_id: str = "",
    cache: CodeCache | None = None,
    dependencies: Sequence[Snapshot] = (),
    replacing: Registration | None = None,
) -> Registration:
    """Make the modules, data and metadata of a snapshot importable. No code of the plugin runs yet.

    Args:
        snapshot: a wheel that was read and verified.
        plugin_id: what its modules are attributed to; the wheel's name if empty.
        cache: where compiled code is kept between processes; without one every module is compiled each time.
        dependencies: the wheels of all its locked dependencies, verified likewise.
        replacing: what leaves in the same moment, with the dependencies that only it used. What runs of it goes on.

    Raises:
        Refused: ``wheel.unsupported``, ``plugin.preloaded``, ``wheel.shadowing`` or ``dependency.conflict``; nothing
            was registered, and nothing has left.
    """
    owner = Owner(plugin_id or snapshot.name, snapshot.digest)
    plugin = Portion(Modules(snapshot), owner, cache, snapshot.unpacked_at)
    with _LOCK:
        leaving = _leaving(replacing, {wheel.digest for wheel in dependencies})
        served = _FINDER.served.without(leaving)
        plugin.dependencies = tuple(
            _shared(wheel, served) or Portion(Modules(wheel), None, cache, snapshot.unpacked_at)
            for wheel in sorted(dependencies, key=lambda wheel: wheel.name)
        )
        new = [portion for portion in (*plugin.dependencies, plugin) if portion not in served.portions]
        traces = _traces(leaving)
        host = _look()
        for portion in new:
            check_clashes(portion, served, host, traces)
            served = served.beside(portion)
        for portion in plugin.dependencies:
            portion.users.append(plugin)
        _FINDER.exchange(leaving, new)
        _FINDER.install()
        _forget(leaving, traces)
    return Registration(plugin, owner)


def _shared(wheel: Snapshot, served: Served) -> Portion | None:
    """The portion that serves a dependency for other plugins already, if one does."""
    same = (it for it in served.named(wheel.name) if it.is_dependency and it.modules.snapshot.digest == wheel.digest)
    return next(same, None)


def _look() -> environment.Surroundings:
    """What the host's environment could have by now. Its finders look at their directories again, in case a change was
    too quick for their times; not for each of many plugins that are loaded in a row, since it costs as much as all
    else that registering does.
    """
    global _LOOKED  # noqa: PLW0603 - one for the process, like the finders
    now = time.monotonic()
    if now - _LOOKED > LOOKED_LATELY:
        environment.look_again()
        _LOOKED = now
    return environment.Surroundings()


def _leaving(replaced: Registration | None, kept: Container[str]) -> tuple[Portion, ...]:
    """What is served no longer once a plugin is replaced: it, and the dependencies that nobody else has or will have.

    Raises:
        Refused: ``wheel.unsupported``: compiled code cannot be replaced.
    """
    if replaced is None:
        return ()
    old = replaced._portion
    unused = (dependency for dependency in old.dependencies if dependency.users == [old])
    leaving = (old, *(dependency for dependency in unused if dependency.modules.snapshot.digest not in kept))
    for portion in leaving:
        for name in sorted(portion.executed):
            if portion.modules.sources[name].is_extension:
                raise Refused(
                    "wheel.unsupported",
                    "compiled code that runs cannot be replaced",
                    found=f"{shown(name)} of {portion.described}",
                    todo="Start the process anew, and load the new version there.",
                )
    return leaving


def _withdraw(plugin: Portion) -> None:
    """Serve a plugin no longer, nor what nobody else uses."""
    unused = (dependency for dependency in plugin.dependencies if dependency.users == [plugin])
    leaving = (plugin, *unused)
    traces = _traces(leaving)
    _FINDER.exchange(leaving, ())
    _forget(leaving, traces)


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
    for dependency in portion.dependencies:
        for part in dependency.modules.sources.keys() & sys.modules.keys():
            if not _is_served(dependency, part):
                raise Refused("wheel.shadowing", f"something else than the verified wheel served {part!r}")
    return module


def _was_served(portion: Portion, name: str) -> bool:
    """Whether a loader of ours ran the module, or made the namespace."""
    if name in portion.modules.sources:
        return name in portion.executed
    return isinstance(getattr(sys.modules.get(name), "__loader__", None), NamespaceLoader)


def _is_served(dependency: Portion, name: str) -> bool:
    """Whether a loader of ours ran the module of a dependency, or is at it in another thread."""
    if name in dependency.executed:
        return True
    module = sys.modules.get(name)
    if not isinstance(module, ModuleType):
        return False
    # Asked for in the ordinary way, an attribute of a module that is to be loaded lazily would load it.
    loader = getattr(ModuleType.__getattribute__(module, "__spec__"), "loader", None)
    return isinstance(loader, ModuleLoader) and loader.is_of(dependency)


def _describe(error: BaseException) -> str:
    """An error of a plugin in words; its ``__str__`` may fail, or be meant to."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _traces(portions: Collection[Portion]) -> dict[str, ModuleType | None]:
    """The loaded modules of these portions alone, by being in their wheels or below names that only they own."""
    if not portions:
        return {}
    served = {name for portion in portions for name in portion.modules.sources}
    owned = {
        top_level
        for portion in portions
        for top_level in portion.modules.top_levels
        if all(owner in portions for owner in _FINDER.owners(top_level))
    }
    loaded = list(sys.modules.items())
    return {name: module for name, module in loaded if name in served or name.partition(".")[0] in owned}


def _forget(portions: Collection[Portion], traces: Mapping[str, ModuleType | None]) -> None:
    """Drop all traces of portions; what they share with others stays, and so does what has taken their place."""
    namespaces = {name for portion in portions for name in portion.modules.namespaces}
    for name, module in traces.items():
        if name in sys.modules and sys.modules[name] is module:
            del sys.modules[name]
        above, _, last = name.rpartition(".")
        parent = sys.modules.get(above) if above in namespaces else None
        if parent is not None and vars(parent).get(last, parent) is module:
            delattr(parent, last)
    for portion in portions:
        portion.executed.clear()
        portion.ready.clear()
        if portion.owner is not None:
            release(portion.owner)
        for dependency in portion.dependencies:
            dependency.users = [user for user in dependency.users if user in _FINDER.portions]
        for cache in (linecache.cache, sys.path_importer_cache):
            for key in [key for key in cache if key.startswith(f"{portion.modules.root}/")]:
                del cache[key]


def _after_fork() -> None:
    """A lock that another thread held when the process forked would never be freed in the child."""
    global _LOCK  # noqa: PLW0603 - replaced for the child, where no other thread exists yet
    _LOCK = threading.RLock()
    for portion in _FINDER.portions:
        portion.lock = threading.RLock()


# One for the process, like sys.meta_path and sys.modules, which they are about.
_FINDER = Finder()
_LOCK = threading.RLock()
_LOOKED = float("-inf")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
