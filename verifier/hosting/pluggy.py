"""A gate for hosts with pluggy: only what was let in is registered, and what is revoked is taken out again.

from verifier.hosting import Plugins
from verifier.hosting.pluggy import VerifiedPluginManager

manager = VerifiedPluginManager("myhost", Plugins.open())
manager.add_hookspecs(hookspecs)
manager.load_setuptools_entrypoints("myhost")
"""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Any

import pluggy

from verifier.errors import LoadlockError, PluginFailed, PluginRevoked
from verifier.hosting.guarded import guarded_call
from verifier.hosting.metadata import distribution_of
from verifier.hosting.plugins import Plugins
from verifier.plugin import EntryPoint, Plugin

logger = logging.getLogger(__name__)


class VerifiedPluginManager(pluggy.PluginManager):
    """A plugin manager that takes entry points from verified plugins alone.

    Each call of a hook that such a plugin implements goes through its switch, and belongs to a run of its own. Plugins
    that the host registers itself are the host's own code, and are not judged.

    Args:
        project_name: as pluggy has it.
        plugins: the host's plugins.
    """

    def __init__(self, project_name: str, plugins: Plugins) -> None:
        super().__init__(project_name)
        self.verified = plugins

    def load_setuptools_entrypoints(self, group: str, name: str | None = None) -> int:
        """Register the verified plugins of a group; whatever fails is reported by ``plugins.refused``.

        Args:
            group: the group of entry points.
            name: only the one of this name.

        Returns:
            How many were registered.
        """
        return register_verified(self, self.verified, group, name)


def register_verified(manager: pluggy.PluginManager, plugins: Plugins, group: str, name: str | None = None) -> int:
    """Register the verified plugins of a group with any plugin manager, and take out what is revoked later on.

    Args:
        manager: the host's.
        plugins: the host's plugins.
        group: the group of entry points.
        name: only the one of this name.

    Returns:
        How many were registered.
    """
    taken = [
        (implementation, point.plugin)
        for point in plugins.entry_points(group, name)
        # As pluggy does: what is registered under the name, or blocked, stays as it is.
        if not manager.get_plugin(point.name) and not manager.is_blocked(point.name)
        if (implementation := _take(manager, plugins, point)) is not None
    ]

    def on_revoked(plugin: Plugin, error: PluginRevoked) -> None:
        for implementation, of in taken:
            if of is plugin and manager.is_registered(implementation):
                manager.unregister(implementation)
                logger.error("%s was taken out: %s", plugin, error.found)

    if taken:
        plugins.subscribe(on_revoked)
    return len(taken)


def _take(manager: pluggy.PluginManager, plugins: Plugins, point: EntryPoint) -> Any:
    """Register one; None, and reported, if it fails."""
    try:
        implementation = point.load()
        with point.plugin.run():  # what registering calls at once, of hooks that remember, belongs to a run too
            manager.register(implementation, name=point.name)
    except LoadlockError as error:
        plugins.report(point.plugin, error)
        return None
    except pluggy.PluginValidationError as error:
        failed = PluginFailed("plugin.failed", "the plugin's hooks do not fit the host's", found=str(error)[:500])
        plugins.report(point.plugin, failed)
        return None
    for caller in manager.get_hookcallers(implementation) or ():
        for hook in caller.get_hookimpls():
            if hook.plugin is implementation:
                hook.function = guarded_call(point.plugin, hook.function)  # type: ignore[misc]  # ours to wrap
    manager._plugin_distinfo.append((implementation, as_listed(distribution_of(point.plugin))))
    return implementation


def as_listed(distribution: importlib.metadata.Distribution) -> Any:
    """A distribution as the installed pluggy keeps it: up to 1.6 in a wrapper of its own."""
    if hasattr(pluggy.PluginManager, "list_plugin_distributions"):
        return distribution
    from pluggy._manager import DistFacade  # type: ignore[attr-defined]  # what it hands out itself

    return DistFacade(distribution)
