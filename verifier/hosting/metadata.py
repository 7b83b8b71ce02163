"""Entry points as ``importlib.metadata`` gives them, of verified plugins only, out of their signed manifests."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from verifier.hosting.guarded import guarded
from verifier.hosting.plugins import Plugins
from verifier.plugin import EntryPoint, Plugin


class VerifiedEntryPoint(importlib.metadata.EntryPoint):
    """An entry point of a plugin that was let in. ``load`` refuses once it may no longer run."""

    def __init__(self, point: EntryPoint) -> None:
        super().__init__(name=point.name, value=point.value, group=point.group)
        # Entry points refuse to have attributes set.
        vars(self)["verified"] = point
        vars(self)["dist"] = distribution_of(point.plugin)

    @property
    def plugin(self) -> Plugin:
        """Whose it is."""
        point: EntryPoint = vars(self)["verified"]
        return point.plugin

    def load(self) -> Any:
        """The object that it leads to. A plain function is handed out so that each call goes through the plugin's
        switch and belongs to a run; anything else as it is.

        Raises:
            PluginRevoked: the plugin may no longer run.
            PluginFailed: the plugin's own code failed.
            Refused: ``manifest.entry-point`` when there is no such object.
        """
        point: EntryPoint = vars(self)["verified"]
        return guarded(point.plugin, point.load())


def entry_points(plugins: Plugins, *, group: str, name: str | None = None) -> importlib.metadata.EntryPoints:
    """What a host calls in the place of ``importlib.metadata.entry_points``.

    Args:
        plugins: the host's plugins.
        group: the group.
        name: only those of this name.
    """
    return importlib.metadata.EntryPoints(map(VerifiedEntryPoint, plugins.entry_points(group, name)))


def distribution_of(plugin: Plugin) -> importlib.metadata.Distribution:
    """The distribution of a loaded plugin, read from its verified wheel."""
    return importlib.metadata.distribution(plugin.facts.snapshot.name)
