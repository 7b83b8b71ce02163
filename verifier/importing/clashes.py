"""What registering refuses: what cannot be loaded here, and names that mean something else already.

One process has one table of modules. So of a plugin and its locked dependencies, whatever (1) this release or
interpreter cannot load, (2) is loaded already, (3) belongs to another registered wheel or (4) could be imported from
the host, is refused. Where it is a dependency that clashes, the way out is another one than where it is the plugin.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Collection
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Final, NoReturn

from verifier.errors import Refused
from verifier.formats.packages import canonical, versions
from verifier.importing.environment import Surroundings, ask
from verifier.importing.finder import Finder, Served
from verifier.importing.fitting import fits
from verifier.importing.loader import Portion
from verifier.importing.modules import Modules
from verifier.private_cache import PrivateCache
from verifier.wheels.wheel_paths import shown

if TYPE_CHECKING:
    import importlib.metadata

MAX_HOST_FILES: Final = 10_000  # looked at in a directory of the host that bears a wheel's name

_UNINSTALL = "Remove the other copy from the host's environment: the plugin is served from the verified wheel."
_PROVIDE = (
    "Have its owner declare it as host_provided, or run the plugin where it has a process of its own: in a tier whose "
    "isolation is 'process' or 'sandbox'."
)
_RESTART = "Replace the one that runs, or start the process anew: there is one version of a plugin in a process."
_AGREE = (
    "Have both owners lock the same wheel, or run one of the plugins where it has a process of its own: in a tier "
    "whose isolation is 'process' or 'sandbox'."
)


def check_clashes(portion: Portion, others: Served, host: Surroundings, replaced: Collection[str] = ()) -> None:
    """Return when a portion can be served beside the others, and clashes with nothing of the host.

    Args:
        portion: what is about to be registered.
        others: what is registered, or about to be.
        host: what the host's environment could have.
        replaced: names of loaded modules that leave when it comes.

    Raises:
        Refused: ``wheel.unsupported``; ``plugin.preloaded`` or ``wheel.shadowing`` for a plugin;
            ``dependency.conflict`` where a dependency is involved.
    """
    check_loadable(portion.modules, None if portion.cache is None else portion.cache.kept)
    for other in others.named(portion.modules.snapshot.name):
        _refuse_same_name(portion, other)
    for top_level in sorted(portion.modules.top_levels):
        sharing = others.owners(top_level)
        for other in sharing:
            _check_shared(top_level, portion, other)
        if not sharing:
            _check_unloaded(top_level, portion, replaced)
            _check_host(top_level, portion, host)
    _check_installed(portion, host)


def check_loadable(modules: Modules, cache: PrivateCache | None = None) -> None:
    """This release and this interpreter can load the wheel (1).

    Args:
        modules: what it holds.
        cache: where it is kept which tags this interpreter takes.

    Raises:
        Refused: ``wheel.unsupported``.
    """
    snapshot = modules.snapshot
    if modules.compiled and sys.platform != "linux":
        raise Refused(
            "wheel.unsupported",
            "the wheel holds compiled code, which can be loaded from memory on Linux only",
            found=shown(modules.compiled[0]),
            expected="modules in Python source",
        )
    if not fits(snapshot.tags, cache):
        found = shown(" ".join(sorted(snapshot.tags)))
        raise Refused("wheel.unsupported", "the wheel is for another interpreter or platform", found=found)
    required, running = snapshot.metadata.requires_python, sys.version.partition(" ")[0]
    if not versions(required).admit(running):
        what = "the wheel is for another version of Python"
        raise Refused("wheel.unsupported", what, found=running, expected=shown(required), todo="Use another release.")


def _refuse_same_name(portion: Portion, other: Portion) -> NoReturn:
    """Something else of the distribution's name is registered (3)."""
    of_plugins = not (portion.is_dependency or other.is_dependency)
    if of_plugins and portion.modules.snapshot.digest == other.modules.snapshot.digest:
        raise Refused(
            "wheel.shadowing",
            f"this wheel of {portion.modules.snapshot.name} is loaded already, by another gate of this process",
            found=other.described,
            expected="one gate in a process",
            todo="Load all plugins of a process by one Gate, or one Plugins, and hand its plugins on.",
        )
    raise Refused(
        "wheel.shadowing" if of_plugins else "dependency.conflict",
        f"another wheel of {portion.modules.snapshot.name} is already loaded in this process",
        found=other.described,
        expected=portion.described,
        todo=_RESTART if of_plugins else _AGREE,
    )


def _check_shared(top_level: str, portion: Portion, other: Portion) -> None:
    """A name of another registered wheel may be shared as a namespace, if no module and no file is in both (3)."""
    mine, theirs = portion.modules, other.modules
    clash = (mine.sources.keys() & (theirs.sources.keys() | theirs.namespaces)) | (
        theirs.sources.keys() & mine.namespaces
    )
    clash |= {path for path in mine.snapshot.files.keys() & theirs.snapshot.files if path.startswith(f"{top_level}/")}
    if not clash:
        return
    if portion.is_dependency or other.is_dependency:
        raise Refused(
            "dependency.conflict",
            f"the name {top_level!r} already belongs to another wheel in this process",
            found=f"{shown(min(clash))} in {other.described}",
            expected=f"one owner for each module; {portion.described} brings it too",
            todo=_AGREE,
        )
    raise Refused(
        "wheel.shadowing",
        f"the name {top_level!r} already belongs to the plugin {theirs.snapshot.name}",
        found=shown(min(clash)),
        expected="one owner for each module",
    )


def _check_unloaded(top_level: str, portion: Portion, replaced: Collection[str]) -> None:
    """Nobody has put a module of that name into the interpreter yet (2)."""
    loaded = list(sys.modules)
    if top_level not in "\n".join(loaded):
        return  # the one look that nearly always does: there may be thousands
    for name in loaded:
        if name.partition(".")[0] == top_level and name not in replaced:
            origin = shown(str(getattr(sys.modules.get(name), "__file__", None)))
            if portion.is_dependency:
                raise _of_the_host(f"the host has imported another {name!r} already", origin, portion)
            raise Refused("plugin.preloaded", f"the module {name!r} is already loaded", found=origin)


def _check_host(top_level: str, portion: Portion, host: Surroundings) -> None:
    """The host has nothing else of that name that it could import (4)."""
    for finder in sys.meta_path:
        if isinstance(finder, Finder) or (finder is PathFinder and not host.may_import(top_level)):
            continue
        if hasattr(finder, "invalidate_caches"):
            ask()
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(top_level, None) if find_spec else None
        if spec is not None and not _is_hollow(spec) and not _is_own(spec, top_level, portion):
            where = shown(spec.origin or ", ".join(spec.submodule_search_locations or ()))
            what = f"the host can import another {top_level!r}"
            if portion.is_dependency:
                raise _of_the_host(what, where, portion)
            raise Refused("wheel.shadowing", what, found=where, todo=_UNINSTALL)


def _is_own(spec: ModuleSpec, top_level: str, portion: Portion) -> bool:
    """Whether a spec is of the installed copy that the portion is served in the place of, and of nothing else."""
    if portion.stands_for is None:
        return False
    files, namespaces = portion.modules.snapshot.files, portion.modules.namespaces
    if spec.loader is None or spec.origin is None:
        places = list(spec.submodule_search_locations or ())
        return top_level in namespaces and all(_within(place, portion.stands_for) == top_level for place in places)
    return _within(spec.origin, portion.stands_for) in files


def _within(place: str, root: str) -> str | None:
    """A path below a directory, as a wheel would name it; None for one that lies elsewhere."""
    directory, name = os.path.split(place)
    relative = os.path.relpath(os.path.join(os.path.realpath(directory), name), root)
    return None if relative.startswith("..") else relative.replace(os.sep, "/")


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


def _check_installed(portion: Portion, host: Surroundings) -> None:
    """The host has no distribution of that name (4)."""
    snapshot = portion.modules.snapshot
    if not host.may_have(snapshot.name, Finder):
        return
    import importlib.metadata

    ask()
    from verifier.importing.metadata import MemoryDistribution

    for found in importlib.metadata.distributions(name=snapshot.name):
        if isinstance(found, MemoryDistribution):
            continue  # a registered wheel's, which was compared before
        where, what = shown(str(found.locate_file(""))), f"a distribution named {snapshot.name} is already there"
        if portion.stands_for == os.path.realpath(str(found.locate_file(""))) and _is_version(found, snapshot.version):
            continue  # the copy that it is served in the place of
        if portion.is_dependency:
            raise _of_the_host(f"{what}, in version {shown(str(found.version))}", where, portion)
        raise Refused("wheel.shadowing", what, found=where, todo=_UNINSTALL)


def _is_version(found: importlib.metadata.Distribution, version: str) -> bool:
    try:
        return canonical(str(found.version)) == version
    except ValueError:
        return False


def _of_the_host(what: str, found: str, portion: Portion) -> Refused:
    expected = f"one copy of each module in a process; the plugin locks {portion.described}"
    return Refused("dependency.conflict", what, found=found, expected=expected, todo=_PROVIDE)
