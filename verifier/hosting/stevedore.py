"""Gates for hosts with stevedore: its managers, which find verified plugins only.

    from verifier.hosting import Plugins
    from verifier.hosting.stevedore import VerifiedDriverManager

    driver = VerifiedDriverManager("myhost.exporters", "csv", plugins=Plugins.open()).driver

stevedore keeps what it finds in memory and on disk, unsigned; these managers use neither.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from stevedore import (
    DriverManager,
    EnabledExtensionManager,
    ExtensionManager,
    HookManager,
    NamedExtensionManager,
)

from verifier.hosting.metadata import entry_points
from verifier.hosting.plugins import Plugins


class _Verified(ExtensionManager[Any]):
    """What is common to all: where entry points come from.

    Args:
        args: those of stevedore's class.
        plugins: the host's plugins.
        options: those of stevedore's class.
    """

    def __init__(self, *args: Any, plugins: Plugins, **options: Any) -> None:
        self.verified = plugins
        super().__init__(*args, **options)

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        """The verified entry points of the namespace."""
        return list(entry_points(self.verified, group=self.namespace))


class VerifiedExtensionManager(_Verified):
    """``stevedore.ExtensionManager`` of verified plugins."""


class VerifiedNamedExtensionManager(_Verified, NamedExtensionManager[Any]):
    """``stevedore.NamedExtensionManager`` of verified plugins."""


class VerifiedDriverManager(_Verified, DriverManager[Any]):
    """``stevedore.DriverManager`` of verified plugins."""


class VerifiedHookManager(_Verified, HookManager[Any]):
    """``stevedore.HookManager`` of verified plugins."""


class VerifiedEnabledExtensionManager(_Verified, EnabledExtensionManager[Any]):
    """``stevedore.EnabledExtensionManager`` of verified plugins."""
