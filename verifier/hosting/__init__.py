"""Plugins behind the gate of hosts that already have a way to find them.

from verifier.hosting import Plugins

with Plugins.open() as plugins:                      # the deployment's loadlock.toml says where they lie
    for point in plugins.entry_points("exporters"):
        print(point.name, point(rows))
    for refused in plugins.refused:
        print(refused)

settings.py       the one file of settings
plugins.py        the plugins of a host: found in its directories, judged by its gate
guarded.py        a plugin's functions, each behind its switch and inside a run
metadata.py       importlib.metadata: entry points of verified plugins only
discovery.py      the same for hosts that are not changed at all
pluggy.py         a PluginManager
stevedore.py      its managers
asgi.py           the lifespan of an asynchronous host
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier.hosting.plugins import Plugins, RefusedPlugin
    from verifier.hosting.settings import Settings

_LAZY = {
    "Plugins": "verifier.hosting.plugins",
    "RefusedPlugin": "verifier.hosting.plugins",
    "Settings": "verifier.hosting.settings",
}

__all__ = ["Plugins", "RefusedPlugin", "Settings"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'verifier.hosting' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
