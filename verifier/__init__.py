"""The reader: what a host calls before it lets a plugin in.

    from verifier import Gate, PluginRevoked, Refused

    gate = Gate.open()
    plugin = gate.load("csv_exporter-1.0.0-py3-none-any.whl")
    print(plugin.entry_point("exporters", "csv")([["a", 1]]))

These names are the public interface; they are imported when first used, so that ``import verifier`` costs almost
nothing and loads no network code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from verifier.collecting import seldom
from verifier.errors import (
    FormatError,
    LoadlockError,
    PluginFailed,
    PluginRevoked,
    Refused,
    Unreachable,
    UsageError,
)

if TYPE_CHECKING:
    from verifier.gate import EntryPoint, Gate, Plugin
    from verifier.judging.decide import Request
    from verifier.judging.steps import Outcome
    from verifier.judging.verify import VerifiedPlugin

_LAZY = {
    "EntryPoint": "verifier.gate",
    "Gate": "verifier.gate",
    "Outcome": "verifier.judging.steps",
    "Plugin": "verifier.gate",
    "Request": "verifier.judging.decide",
    "VerifiedPlugin": "verifier.judging.verify",
}

__all__ = [
    "EntryPoint",
    "FormatError",
    "Gate",
    "LoadlockError",
    "Outcome",
    "Plugin",
    "PluginFailed",
    "PluginRevoked",
    "Refused",
    "Request",
    "Unreachable",
    "UsageError",
    "VerifiedPlugin",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'verifier' has no attribute {name!r}")
    with seldom():
        return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
