"""A gate for hosts with pluggy: only what was let in is registered, and what is revoked is taken out again.

from verifier.hosting import Plugins
from verifier.hosting.pluggy import VerifiedPluginManager

manager = VerifiedPluginManager("myhost", Plugins.open())
manager.add_hookspecs(hookspecs)
manager.load_setuptools_entrypoints("myhost")
"""

from __future__ import annotations

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
        self._handles: list[tuple[Any, Plugin]] = []
        plugins.subscribe(self._on_revoked)

    def load_setuptools_entrypoints(self, group: str, name: str | None = None) -> int:
        """Register the verified plugins of a group; whatever fails is reported by ``plugins.refused``.

        Args:
            group: the group of entry points.
            name: only the one of this name.

        Returns:
            How many were registered.
        """
        return sum(
            self._take(point)
            for point in self.verified.entry_points(group, name)
            # As pluggy does: what is registered under the name, or blocked, stays as it is.
            if not self.get_plugin(point.name) and not self.is_blocked(point.name)
        )

    def _take(self, point: EntryPoint) -> bool:
        try:
            implementation = point.load()
            with point.plugin.run():  # what registering calls at once, of hooks that remember, belongs to a run too
                self.register(implementation, name=point.name)
        except LoadlockError as error:
            self.verified.report(point.plugin, error)
            return False
        except pluggy.PluginValidationError as error:
            failed = PluginFailed("plugin.failed", "the plugin's hooks do not fit the host's", found=str(error)[:500])
            self.verified.report(point.plugin, failed)
            return False
        for caller in self.get_hookcallers(implementation) or ():
            for hook in caller.get_hookimpls():
                if hook.plugin is implementation:
                    hook.function = guarded_call(point.plugin, hook.function)  # type: ignore[misc]  # ours to wrap
        self._handles.append((implementation, point.plugin))
        self._plugin_distinfo.append((implementation, distribution_of(point.plugin)))
        return True

    def _on_revoked(self, plugin: Plugin, error: PluginRevoked) -> None:
        for implementation, of in list(self._handles):
            if of is plugin and self.is_registered(implementation):
                self.unregister(implementation)
                logger.error("%s was taken out: %s", plugin, error.found)
