"""The gate: what a host application calls to let plugins in.

    gate = Gate.open()                              # the deployment this host is enrolled in
    plugin = gate.load("csv_exporter-1.0.0-py3-none-any.whl")
    with plugin.run() as run:                       # logs inside carry plugin_id, artifact_digest and run_id
        plugin.entry_point("exporters", "csv")(rows)

Everything is read once, verified in memory and imported from memory. Loading never touches the network; a watcher does
(:meth:`Gate.watch`), beside the host, and a plugin that is revoked meanwhile raises ``PluginRevoked`` at its next call.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from verifier import importing
from verifier.command import find_deployment
from verifier.decide import Request
from verifier.errors import PluginRevoked, Refused
from verifier.files import read_capped
from verifier.formats.bundle import MAX_SET
from verifier.home import Home, InForce, State
from verifier.runtime import Run, Switch, current, stamps
from verifier.standing import check_standing
from verifier.verify import Ground, Outcome, VerifiedPlugin, verify
from verifier.wheel import DEFAULT_LIMITS

if TYPE_CHECKING:
    from verifier.refresh import Refresher
    from verifier.watch import Watcher

SET_SUFFIX = ".attestations.jsonl"
Clock = Callable[[], datetime]
OnRevoked = Callable[["Plugin", PluginRevoked], None]


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def installed_version(name: str) -> str | None:
    """The version of a distribution in this process's own environment, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def open_ground(home: Home, wall: datetime) -> Ground:
    """Verify again what is stored: trust from the pinned root, and the revocation list from that.

    Args:
        home: the host's deployment directory.
        wall: the clock's time (aware, UTC).

    Raises:
        Refused: any ``trust.*`` or ``list.*`` code.
    """
    return _ground_of(home.in_force(wall))


def _ground_of(found: InForce) -> Ground:
    return Ground(
        deployment=found.deployment,
        floor=found.floor,
        trust=found.trust,
        revocations=found.revocations,
        time_floor=found.time_floor,
    )


class EntryPoint:
    """One entry point out of the signed manifest; calling it calls into the plugin, as long as that is allowed."""

    def __init__(self, plugin: Plugin, group: str, name: str, reference: str) -> None:
        self.plugin, self.group, self.name, self.value = plugin, group, name, reference

    def load(self) -> Any:
        """The object itself, as ``importlib.metadata`` would give it. What a host keeps of it, the kill switch no
        longer reaches: prefer to call the entry point.

        Raises:
            PluginRevoked: the plugin may no longer run.
            PluginFailed: the plugin's own code failed while it was imported.
            Refused: ``manifest.entry-point`` when the object does not exist.
        """
        module_name, _, attribute = self.value.partition(":")
        module = self.plugin.module(module_name)
        try:
            return attrgetter(attribute)(module) if attribute else module
        except AttributeError as error:
            raise Refused(
                "manifest.entry-point", f"the module {module_name!r} has no {attribute!r}", expected=self.value
            ) from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object, inside the plugin's current run or one of its own.

        Raises:
            PluginRevoked: the plugin may no longer run; otherwise whatever the plugin raises.
        """
        target = self.load()
        active = current()
        if active is not None and active.artifact_digest == self.plugin.facts.artifact_digest:
            return target(*args, **kwargs)
        with self.plugin.run():
            return target(*args, **kwargs)


class Plugin:
    """A loaded plugin: the facts it was loaded on, and the way to call it.

    Attributes:
        facts: what was verified.
    """

    def __init__(self, facts: VerifiedPlugin, registration: importing.Registration) -> None:
        self.facts = facts
        self._registration = registration
        self._switch = Switch(facts.plugin_id, facts.artifact_digest)

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
            group: {name: EntryPoint(self, group, name, reference) for name, reference in named.items()}
            for group, named in self.facts.manifest.entry_points.items()
        }

    def entry_point(self, group: str, name: str) -> EntryPoint:
        """One entry point of the signed manifest.

        Raises:
            PluginRevoked: the plugin may no longer run.
            Refused: ``manifest.entry-point``.
        """
        self.check()
        reference = self.facts.manifest.entry_points.get(group, {}).get(name)
        if reference is None:
            known = [f"{g}:{n}" for g, named in self.facts.manifest.entry_points.items() for n in named]
            raise Refused(
                "manifest.entry-point",
                "the signed manifest names no such entry point",
                found=f"{group}:{name}",
                expected=", ".join(known),
            )
        return EntryPoint(self, group, name, reference)

    def run(self) -> Run:
        """A run, to be entered: inside it log records carry plugin_id, artifact_digest and run_id.

        Raises:
            PluginRevoked: on entering, when the plugin may no longer run.
        """
        facts = self.facts
        return Run(plugin_id=facts.plugin_id, artifact_digest=facts.artifact_digest, switch=self._switch)

    @property
    def revoked(self) -> str | None:
        """Why the plugin may no longer run, to be shown; None while it may."""
        return self._switch.reason

    def revoke(self, reason: str | PluginRevoked) -> None:
        """Let nothing call into the plugin any more; the first reason stays. Safe from any thread."""
        self._switch.throw(reason)


class Gate:
    """Verifies and loads plugins for one host process.

    Args:
        home: the host's deployment directory.
        request: what the host wants of every plugin.
        clock: tells the time (aware, UTC).
        on_revoked: is told of each loaded plugin that may no longer run.

    Raises:
        Refused: trust or list are missing, damaged, rolled back or foreign.
    """

    def __init__(
        self,
        home: Home,
        *,
        request: Request | None = None,
        clock: Clock = utc_now,
        on_revoked: OnRevoked | None = None,
    ) -> None:
        self.home = home
        self.request = replace(request or Request(), provided=(request and request.provided) or installed_version)
        self._clock = clock
        self._on_revoked = on_revoked
        self._lock = threading.RLock()
        self._plugins: dict[str, Plugin] = {}
        self._watcher: Watcher | None = None
        self._refresher: Refresher | None = None
        self._state: State | None = None
        self._ground = self._reopen()
        _gates.add(self)

    @classmethod
    def open(cls, directory: Path | str | None = None, **options: Any) -> Gate:
        """Open the gate of a deployment directory: the one given, the environment's, or the nearest ``.loadlock/``.

        Raises:
            UsageError: ``usage.deployment``; Refused as the constructor.
        """
        return cls(Home(find_deployment(None if directory is None else str(directory))), **options)

    @property
    def ground(self) -> Ground:
        """What plugins are judged against now; read again when another process has refreshed it."""
        with self._lock:
            if self.home.state() != self._state:
                self._ground = self._reopen()
                self._judge_running()
            return self._ground

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plugins that were loaded."""
        return tuple(self._plugins.values())

    def verify(self, wheel: Path | str, observe: Callable[[Outcome], None] | None = None) -> VerifiedPlugin:
        """Verify a wheel without loading it.

        Raises:
            Refused: with the code and step of the first check that said no.
            UsageError: the wheel cannot be read.
        """
        path = Path(wheel)
        data = read_capped(path, DEFAULT_LIMITS.archive, "wheel")
        return verify(data, path.name, self._set_of(path, data), self.ground, self._clock(), self.request, observe)

    def load(self, wheel: Path | str) -> Plugin:
        """Verify a wheel and make it callable; the same artifact is loaded once.

        Raises:
            Refused: as :meth:`verify`, or because the wheel cannot be loaded into this process.
            UsageError: the wheel cannot be read.
        """
        with self._lock:
            facts = self.verify(wheel)
            known = self._plugins.get(facts.artifact_digest)
            if known is not None:
                known.check()
                return known
            stamps.install()
            plugin = Plugin(facts, importing.register(facts.snapshot, plugin_id=facts.plugin_id))
            self._plugins[facts.artifact_digest] = plugin
            return plugin

    def refresh(self) -> None:
        """Fetch trust and list now, and judge loaded plugins by them; the old ones stay in force if that fails.

        Raises:
            Unreachable: the server did not answer.
            Refused: what it answered is not acceptable.
        """
        from verifier.refresh import Refresher

        if self._refresher is None:
            self._refresher = Refresher(self.home)
        self._refresher.refresh(self._clock())
        self.ground  # noqa: B018 - reads the new state and judges what runs

    def watch(self, interval: float = 60.0) -> None:
        """Keep trust and list fresh in the background, every ``interval`` seconds with jitter, also across ``fork``."""
        from verifier.watch import Watcher

        with self._lock:
            if self._watcher is None:
                self._watcher = Watcher(self.refresh, interval=interval)
                self._watcher.start()

    def close(self) -> None:
        """Stop watching. Loaded plugins stay loaded, and are no longer judged again."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen(self) -> Ground:
        found = self.home.in_force(self._clock())
        self._state = found.state
        return _ground_of(found)

    def _set_of(self, path: Path, wheel: bytes) -> bytes | None:
        beside = path.with_name(path.name + SET_SUFFIX)
        stored = self.home.set_path(hashlib.sha256(wheel).hexdigest())
        for candidate in (beside, stored):
            if candidate.is_file():
                return read_capped(candidate, MAX_SET, "attestation set")
        return None

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    def _judge_running(self) -> None:
        for plugin in self._plugins.values():
            if plugin.revoked is None:
                try:
                    check_standing(plugin.facts, self._ground)
                except PluginRevoked as error:
                    plugin.revoke(error)
                    if self._on_revoked is not None:
                        self._on_revoked(plugin, error)


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()


def _renew_locks_in_child() -> None:
    # The watcher's thread may have held a gate's lock when the process forked, and it does not exist in the child.
    for gate in list(_gates):
        gate._renew_lock()


os.register_at_fork(after_in_child=_renew_locks_in_child)

__all__ = ["EntryPoint", "Gate", "Ground", "Outcome", "Plugin", "Request", "VerifiedPlugin", "open_ground"]
