"""Hosts that are not changed at all: in one process, chosen groups of entry points are found behind the gate alone.

    from verifier.hosting import Plugins
    from verifier.hosting.discovery import guard

    with guard(Plugins.open()):                  # settings: groups = ["mkdocs.plugins"], own = ["mkdocs"]
        mkdocs.__main__.cli()

As long as it lasts, ``importlib.metadata`` (and its backport, pluggy and stevedore, where they are installed) finds in
the groups of the settings what verified plugins offer, and what the host's own distributions do; nothing else.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, DistributionFinder, EntryPoints
from pathlib import Path
from types import TracebackType
from typing import Any

from packaging.utils import canonicalize_name

from verifier.errors import UsageError
from verifier.hosting.metadata import VerifiedEntryPoint, distribution_of
from verifier.hosting.plugins import Plugins
from verifier.importing.metadata import MemoryDistribution
from verifier.plugin import Plugin

_Patch = tuple[Any, str, Any]


class VerifiedDistribution(Distribution):
    """The distribution of a verified plugin: its metadata, but the entry points of its signed manifest.

    Args:
        plugin: whose.
        groups: the groups that are guarded; of others it offers nothing.
    """

    def __init__(self, plugin: Plugin, groups: frozenset[str]) -> None:
        self._plugin = plugin
        self._groups = groups
        self._inner = distribution_of(plugin)

    def read_text(self, filename: str) -> str | None:
        """A file of its metadata; entry points as the signed manifest has them."""
        if filename != "entry_points.txt":
            return self._inner.read_text(filename)
        groups: dict[str, list[str]] = {}
        for point in self.entry_points:
            groups.setdefault(point.group, []).append(f"{point.name} = {point.value}")
        return "\n".join(line for group, lines in groups.items() for line in (f"[{group}]", *lines, ""))

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """A file of the wheel, which is not on disk."""
        return self._inner.locate_file(path)  # type: ignore[return-value]

    @property
    def entry_points(self) -> EntryPoints:
        """Those of the signed manifest; none once the plugin may no longer run."""
        if self._plugin.revoked is not None:
            return EntryPoints()
        named = self._plugin.entry_points
        return EntryPoints(
            VerifiedEntryPoint(point)
            for group in sorted(self._groups & named.keys())
            for point in named[group].values()
        )


class _Verified(DistributionFinder):
    """Adds the verified plugins to every listing of distributions."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """No modules: those are the gate's."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        """All of them, where no name is asked for; one that is asked for by name the gate's own finder gives."""
        if context is not None and context.name is None and context.path is sys.path:
            for plugin in self._plugins.loaded:
                yield VerifiedDistribution(plugin, self._plugins.settings.groups)


class Guard:
    """What :func:`guard` has put in place; a context manager that takes it away again.

    Args:
        plugins: the host's plugins, whose settings name the groups.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._finder = _Verified(plugins)
        self._undo: list[_Patch] = []

    def remove(self) -> None:
        """Find entry points as before. What was handed out stays guarded."""
        with _LOCK:
            if self not in _IN_PLACE:
                return
            _IN_PLACE.clear()
            sys.meta_path.remove(self._finder)
            for owner, name, original in reversed(self._undo):
                setattr(owner, name, original)
            self._undo.clear()

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _place(self) -> None:
        sys.meta_path.insert(0, self._finder)
        for name in ("importlib.metadata", "importlib_metadata"):
            if (library := _installed(name)) is not None:
                self._guard_distributions(library.Distribution)
        if (library := _installed("pluggy")) is not None:
            self._patch(library.PluginManager, "load_setuptools_entrypoints", self._registering)
        if (library := _installed("stevedore")) is not None:
            self._patch(library.ExtensionManager, "list_entry_points", self._listing)

    def _guard_distributions(self, kind: Any) -> None:
        """Have installed distributions offer nothing in the groups that are guarded, unless they are the host's own."""
        settings = self._plugins.settings

        def guarding(original: property) -> property:
            def entry_points(distribution: Any) -> Any:
                assert original.fget is not None  # noqa: S101 - a property that is read
                found = original.fget(distribution)
                if settings.groups.isdisjoint(found.groups) or self._is_own(distribution):
                    return found
                return type(found)(point for point in found if point.group not in settings.groups)

            return property(entry_points)

        self._patch(kind, "entry_points", guarding)

    def _registering(self, original: Callable[..., int]) -> Callable[..., int]:
        """For pluggy: hooks that go through the switch, and are taken out when their plugin is revoked."""
        from verifier.hosting.pluggy import as_listed, register_verified

        def load_setuptools_entrypoints(manager: Any, group: str, name: str | None = None) -> int:
            if group not in self._plugins.settings.groups:
                return original(manager, group, name)
            count = register_verified(manager, self._plugins, group, name)
            for distribution in importlib.metadata.distributions():
                if not isinstance(distribution, VerifiedDistribution) and self._is_own(distribution):
                    for point in distribution.entry_points.select(group=group):
                        if name in (None, point.name) and not manager.has_plugin(point.name):
                            found = point.load()
                            if manager.register(found, name=point.name) is not None:
                                manager._plugin_distinfo.append((found, as_listed(distribution)))
                                count += 1
            return count

        return load_setuptools_entrypoints

    def _listing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For stevedore, which would answer out of its own cache on disk."""

        def list_entry_points(manager: Any) -> Any:
            if manager.namespace not in self._plugins.settings.groups:
                return original(manager)
            return list(importlib.metadata.entry_points(group=manager.namespace))

        return list_entry_points

    def _is_own(self, distribution: Any) -> bool:
        if isinstance(distribution, MemoryDistribution):
            return False
        stated = distribution.metadata["Name"] or ""
        # By its directory too, as importlib.metadata tells distributions apart: anything can say that it is the host.
        names = {canonicalize_name(stated), canonicalize_name(getattr(distribution, "_normalized_name", stated))}
        return names <= self._plugins.settings.own

    def _patch(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        original = vars(owner)[name]
        setattr(owner, name, wrap(original))
        self._undo.append((owner, name, original))


def guard(plugins: Plugins) -> Guard:
    """Find entry points of the settings' groups behind the gate alone, everywhere in this process.

    Args:
        plugins: the host's plugins.

    Returns:
        What takes it away again.

    Raises:
        UsageError: ``usage.configuration`` when the settings name no groups; ``usage.exists`` when a guard is in place.
    """
    if not plugins.settings.groups:
        raise UsageError(
            "usage.configuration", "no groups of entry points are to be guarded", found="groups = []",
            expected="the groups in which the host looks for its plugins",
        )  # fmt: skip
    guarding = Guard(plugins)
    with _LOCK:
        if _IN_PLACE:
            raise UsageError("usage.exists", "a guard is in place in this process already", todo="Remove it first.")
        guarding._place()
        _IN_PLACE.append(guarding)
    return guarding


def _installed(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) is not None else None


# One for the process, like importlib.metadata, which it is about.
_IN_PLACE: list[Guard] = []
_LOCK = threading.Lock()
