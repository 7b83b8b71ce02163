"""A loaded plugin, as a host holds it: the facts it was loaded on, and the ways to call it, each behind its switch."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from operator import attrgetter
from types import ModuleType
from typing import Any, NoReturn

from msgspec.structs import replace

from verifier import importing
from verifier.clock import Clock
from verifier.errors import PluginFailed, PluginRevoked, Refused, UsageError
from verifier.importing import CodeCache, Registration
from verifier.judging.decide import Adapter
from verifier.judging.verify import VerifiedPlugin
from verifier.judging.waivers import sentence
from verifier.runtime import Output, Run, Switch, current
from verifier.runtime.observation import log_of_run

logger = logging.getLogger(__name__)


class _BoundToProcess:
    """Something that must not be copied: a copy would have a switch of its own, which nobody throws."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} can be neither copied nor pickled: load the plugin through a gate of that process")


class EntryPoint(_BoundToProcess):
    """One entry point out of the signed manifest; calling it calls into the plugin, as long as that is allowed.

    Attributes:
        plugin: whose it is.
        group: its group, as in ``importlib.metadata``.
        name: its name in the group.
        value: what it refers to, ``module:attribute``.
    """

    def __init__(self, plugin: Plugin, group: str, name: str, value: str) -> None:
        self.plugin, self.group, self.name, self.value = plugin, group, name, value

    def __repr__(self) -> str:
        return f"<EntryPoint {self.group}:{self.name} of {self.plugin!r}>"

    def load(self) -> Any:
        """The object itself, as ``importlib.metadata`` would give it; where the plugin takes an older API version that
        the host adapts, what its adapter makes of it. What a host keeps of it, the kill switch no
        longer reaches: prefer to call the entry point.

        Raises:
            PluginRevoked: the plugin may no longer run.
            PluginFailed: the plugin's own code failed while it was imported or looked up.
            Refused: ``manifest.entry-point`` when the object does not exist.
        """
        module_name, _, attribute = self.value.partition(":")
        module = self.plugin.module(module_name)
        try:
            found = attrgetter(attribute)(module) if attribute else module
        except AttributeError as error:
            raise Refused(
                "manifest.entry-point", f"the module {module_name!r} has no {attribute!r}", expected=self.value
            ) from error
        except Exception as error:  # a module may compute its attributes
            raise PluginFailed(
                "plugin.failed", f"looking up {self.value!r} failed", found=type(error).__name__
            ) from error
        adapter = self.plugin.adapter
        return found if adapter is None else adapter(self.group, self.name, found)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object, inside the plugin's current run or one of its own; a first import is part of it.

        Raises:
            PluginRevoked: the plugin may no longer run; PluginFailed and Refused as :meth:`load`; otherwise whatever
                the plugin raises.
        """
        active = current()
        if active is not None and active.artifact_digest == self.plugin.facts.artifact_digest:
            return self.load()(*args, **kwargs)
        with self.plugin.run():
            return self.load()(*args, **kwargs)

    def stamped(self, *args: Any, **kwargs: Any) -> Output[Any]:
        """Call the object as :meth:`__call__` does, in a run of its own, and say whose work the result is.

        Raises:
            PluginRevoked: as :meth:`__call__`, and likewise the rest.
        """
        with self.plugin.run() as run:
            value = self.load()(*args, **kwargs)
        return Output(value, run.plugin_id, run.artifact_digest, run.run_id, run.observed)


class Plugin(_BoundToProcess):
    """A loaded plugin: the facts it was loaded on, and the way to call it. Made by :meth:`verifier.Gate.load`.

    Attributes:
        facts: what was verified.
        adapter: what the host calls it through, where it takes an older API version than the host's own.
    """

    def __init__(
        self,
        facts: VerifiedPlugin,
        registration: Registration,
        adapter: Adapter | None = None,
        observing: Clock | None = None,
    ) -> None:
        self.facts = facts
        self.adapter = adapter
        self._observing = observing
        self._registration = registration
        self._switch = Switch(facts.plugin_id, facts.artifact_digest)
        registration.heed(self._switch.check)  # an import of its modules goes past this handle
        # A copy: what the facts hold is a plain dictionary, which code in this process could extend.
        self._references = {group: dict(named) for group, named in facts.manifest.entry_points.items()}

    def __repr__(self) -> str:
        return f"<Plugin {self.facts.plugin_id} {self.facts.version}{' (revoked)' if self.revoked else ''}>"

    def check(self) -> None:
        """Return as long as the plugin may run.

        Raises:
            PluginRevoked: ``plugin.revoked``.
        """
        self._switch.check()

    def module(self, name: str) -> ModuleType:
        """Import a module of the plugin from the verified snapshot.

        Raises:
            PluginRevoked: the plugin may no longer run.
            PluginFailed: the module's own code failed.
            Refused: the wheel holds no such module.
        """
        self.check()
        return self._registration.import_module(name)

    @property
    def entry_points(self) -> Mapping[str, Mapping[str, EntryPoint]]:
        """All entry points of the signed manifest, by group and name; those in METADATA count for nothing."""
        return {
            group: {name: EntryPoint(self, group, name, value) for name, value in named.items()}
            for group, named in self._references.items()
        }

    def entry_point(self, group: str, name: str) -> EntryPoint:
        """One entry point of the signed manifest.

        Raises:
            PluginRevoked: the plugin may no longer run.
            Refused: ``manifest.entry-point``.
        """
        self.check()
        value = self._references.get(group, {}).get(name)
        if value is None:
            raise Refused(
                "manifest.entry-point",
                "the signed manifest names no such entry point",
                found=repr(f"{group}:{name}"),
                expected=", ".join(f"{g}:{n}" for g, named in self._references.items() for n in named) or "none at all",
            )
        return EntryPoint(self, group, name, value)

    def run(self) -> Run:
        """A run, to be entered: inside it log records carry plugin_id, artifact_digest and run_id, and what the plugin
        reaches for is recorded, if its gate observes.

        Raises:
            PluginRevoked: on entering, when the plugin may no longer run.
        """
        facts = self.facts
        log = None if self._observing is None else log_of_run(self._observing)
        return Run(plugin_id=facts.plugin_id, artifact_digest=facts.artifact_digest, switch=self._switch, log=log)

    @property
    def revoked(self) -> str | None:
        """Why the plugin may no longer run, to be shown; None while it may."""
        return self._switch.reason

    def revoke(self, reason: str | PluginRevoked) -> None:
        """Let nothing call into the plugin any more; the first reason stays. Safe from any thread."""
        self._switch.throw(reason)


def enter(
    facts: VerifiedPlugin,
    cache: CodeCache | None,
    replacing: Plugin | None = None,
    adapter: Adapter | None = None,
    observing: Clock | None = None,
) -> Plugin:
    """Make a verified plugin importable in this process, in the place of an older version if one is given.

    Args:
        facts: what was verified.
        cache: where compiled code is kept, if anywhere.
        replacing: the older version.
        adapter: what the host calls it through.
        observing: the clock that its runs record by; None where nothing is recorded.

    Raises:
        Refused: what :func:`verifier.importing.register` refuses; nothing has changed then.
    """
    registration = importing.register(
        facts.snapshot,
        plugin_id=facts.plugin_id,
        cache=cache,
        dependencies=facts.dependencies,
        replacing=None if replacing is None else replacing._registration,
    )
    if replacing is not None:
        what = f"{replacing!r} was replaced by version {facts.version} and is called no more"
        replacing.revoke(PluginRevoked("plugin.replaced", what, found=f"replaced by {facts.artifact_digest}"))
    for waiver in facts.waivers:
        logger.warning("%s %s is loaded by exception: %s", facts.plugin_id, facts.version, sentence(waiver))
    if facts.dependencies:  # as they are served: several plugins that lock the same wheel keep one copy of it
        facts = replace(facts, dependencies=registration.dependencies)
    return Plugin(facts, registration, adapter, observing)


def check_replaces(facts: VerifiedPlugin, old: Plugin, loaded: Collection[Plugin]) -> None:
    """Return when a plugin may take the place of ``old``: a newer version of the same plugin. Away from one that is
    revoked, any other version leads.

    Raises:
        UsageError: ``usage.arguments`` when ``old`` is not among those loaded, or another plugin.
        Refused: ``plugin.not-newer``.
    """
    if old not in loaded or old.facts.plugin_id != facts.plugin_id:
        raise UsageError(
            "usage.arguments", "what is to be replaced is no older version of this plugin that the gate has loaded",
            found=repr(old), expected=f"a loaded version of {facts.plugin_id}", todo="Pass the loaded plugin.",
        )  # fmt: skip
    if old.revoked is None and facts.version.order <= old.facts.version.order:
        raise Refused(
            "plugin.not-newer", "a plugin that may run is replaced by a newer version only",
            found=str(facts.version), expected=f"later than {old.facts.version}",
        )  # fmt: skip


def take_out(plugin: Plugin) -> None:
    """Take a plugin's modules out of this process, as far as Python can, so that it can be loaded anew: for tests."""
    plugin._registration.unregister()
