"""The gate: what a host application calls to let plugins in.

    gate = Gate.open()                              # the deployment this host is enrolled in
    plugin = gate.load("csv_exporter-1.0.0-py3-none-any.whl")
    with plugin.run() as run:                       # logs inside carry plugin_id, artifact_digest and run_id
        plugin.entry_point("exporters", "csv")(rows)

Everything is read once, verified in memory and imported from memory. Loading never touches the network; a watcher does
(:meth:`Gate.watch`), beside the host, and a plugin that is revoked meanwhile raises ``PluginRevoked`` at its next call.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from verifier import importing
from verifier.clock import Clock, utc_now
from verifier.collecting import seldom
from verifier.deployment.artifacts import set_of
from verifier.deployment.ground import Opened, open_ground
from verifier.deployment.home import Home, InForce
from verifier.deployment.last_good import is_due, reopen
from verifier.deployment.place import find_deployment
from verifier.errors import PluginRevoked, Refused, Unreachable, UsageError
from verifier.formats.text import Digest
from verifier.installed.gate import InstalledGate
from verifier.installed.installations import installed_version
from verifier.judging.decide import Request
from verifier.judging.high_water import HighWater
from verifier.judging.standing import check_standing
from verifier.judging.steps import Outcome
from verifier.judging.verdicts import Verdicts
from verifier.judging.verify import Candidate, Ground, VerifiedPlugin, judge
from verifier.plugin import EntryPoint, Plugin, check_replaces, enter
from verifier.private_cache import PrivateCache
from verifier.runtime import observation, stamps
from verifier.wheels.wheel import read_wheel
from verifier.wheels.wheel_cache import SeenFiles
from verifier.wheels.wheel_file import WheelFile
from verifier.wheels.wheelhouse import Wheelhouse

if TYPE_CHECKING:
    from verifier.formats.push import Announcement
    from verifier.installed.unattested import Exceptions
    from verifier.refreshing.acknowledging import Reporter
    from verifier.refreshing.push import Listener
    from verifier.refreshing.refresh import Refresher
    from verifier.refreshing.watch import Watcher

logger = logging.getLogger(__name__)

MAX_INTERVAL = 86_400.0
"""The longest interval of watching, in seconds."""

OnRevoked = Callable[[Plugin, PluginRevoked], object]


class Gate(InstalledGate):
    """Verifies and loads plugins for one host process. Safe from any thread, and in a forked child.

    Args:
        home: the host's deployment directory.
        request: what the host wants of every plugin.
        clock: tells the time (aware, UTC).
        on_revoked: is told once of each loaded plugin that may no longer run, in whichever thread found out: the
            watcher's, or one that was verifying. Whatever it raises is logged.
        cache: a directory for this user alone, where what a start finds out is kept for the next one, authenticated:
            wheels that were read before, which statements of a set count, and compiled code. None keeps nothing.
        observe: whether runs record what their plugins reach for (``docs/spec/observation.md``).
        wheelhouse: where the wheels of locked dependencies lie; ``wheels/`` in the host's directory if None.
        libraries: where an administrator has prepared the libraries of wheels (``loadlock host prepare``); they are
            used with ``cache`` alone, and copied as ever where this process could change them.

    Raises:
        Refused: trust or list are missing, damaged, rolled back or foreign.
        UsageError: ``usage.configuration`` when ``clock`` gives times without a zone.
    """

    def __init__(
        self,
        home: Home,
        *,
        request: Request | None = None,
        clock: Clock = utc_now,
        on_revoked: OnRevoked | None = None,
        cache: Path | str | None = None,
        wheelhouse: Path | str | None = None,
        libraries: Path | str | None = None,
        observe: bool = True,
    ) -> None:
        self.home = home
        kept = home.cache = PrivateCache(cache) if cache is not None else None
        self._seen = SeenFiles(kept) if kept is not None else None
        self._read = partial(read_wheel, cache=kept)
        self._marks = HighWater(kept, home.host.deployment)
        self._code = importing.CodeCache(kept, libraries) if kept is not None else None
        self._verdicts = Verdicts(kept) if kept is not None else None
        house = Wheelhouse(home.directory / "wheels" if wheelhouse is None else Path(wheelhouse))
        asked = request or Request()
        self.request = replace(asked, provided=asked.provided or installed_version, offers=asked.offers or house.offers)
        self._clock = clock
        self._on_revoked = on_revoked
        self._lock = threading.RLock()
        self._plugins: dict[str, Plugin] = {}
        self._to_tell: dict[str, tuple[Plugin, PluginRevoked]] = {}
        self._watcher: Watcher | None = None
        self._listener: Listener | None = None
        self._reporter: Reporter | None = None
        self._refresher: Refresher | None = None
        self._let_in: Exceptions | None = None
        self._opened = Opened.at(home, self._now())
        self._observing = clock if observe and observation.install(clock) else None
        _gates.add(self)

    @classmethod
    @seldom()
    def open(cls, directory: Path | str | None = None, **options: Any) -> Gate:
        """Open the gate of a deployment directory: the one given, the environment's, or the nearest ``.loadlock/``.

        Raises:
            UsageError: ``usage.deployment``; Refused as the constructor; Unreachable: ``io.failed`` when a stateless
                host has no place to write to.
        """
        home = Home(find_deployment(None if directory is None else str(directory)))
        if home.host.stateless:
            from verifier.deployment.stateless import in_scratch

            home = in_scratch(home)
        return cls(home, **options)

    @property
    def ground(self) -> Ground:
        """What plugins are judged against now; read again when another process has refreshed it.

        Raises:
            Refused: as the constructor.
        """
        return self._ground_at(self._now())

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plugins that were loaded."""
        return tuple(self._plugins.values())

    def verify(self, wheel: Path | str, observe: Callable[[Outcome], None] | None = None) -> VerifiedPlugin:
        """Verify a wheel without loading it.

        Raises:
            Refused: with the code and step of the first check that said no.
            UsageError: ``wheel.unreadable``; ``io.failed`` for a set that cannot be read: nothing could be checked.
        """
        return self._verified(wheel, observe)[0]

    def _verified(
        self, wheel: Path | str, observe: Callable[[Outcome], None] | None = None
    ) -> tuple[VerifiedPlugin, Ground]:
        path, now = Path(wheel), self._now()
        file = WheelFile(path, self._seen)
        attestations = set_of(self.home, path, file.digest)
        what = f"{file.size} bytes"
        candidate = Candidate(file.name, "snapshot", lambda: (Digest(file.digest), what), lambda _: file.snapshot())
        ground, known = self._ground_at(now), self._verdicts
        return judge(candidate, attestations, ground, now, self.request, observe, self._read, known), ground

    @seldom()
    def load(self, wheel: Path | str, *, replacing: Plugin | None = None) -> Plugin:
        """Verify a wheel and make it callable; the same artifact is loaded once.

        Args:
            wheel: its path; the attestation set lies beside it, or was fetched.
            replacing: an older version that this gate has loaded. It leaves in the same moment and is called no more;
                what runs of its code goes on, so let calls under way end first. If anything is refused, it stays.

        Raises:
            Refused: as :meth:`verify`, or because the wheel cannot be loaded into this process; ``plugin.not-newer``.
            UsageError: as :meth:`verify`; ``usage.arguments`` when this gate has not loaded what is to be replaced.
        """
        return self._enter(*self._verified(wheel), replacing)

    def _enter(self, facts: VerifiedPlugin, judged_by: Ground, replacing: Plugin | None) -> Plugin:
        with self._lock:
            plugin = self._plugins.get(facts.artifact_digest)
            if plugin is None:
                if judged_by is not self._opened.ground:  # news have arrived that only loaded plugins were judged by
                    check_standing(facts, self._opened.ground, self.request)
                if replacing is not None:
                    check_replaces(facts, replacing, self.plugins)
                stamps.install()
                facts = self._marks.pass_by(facts, self._opened.ground.revocations)
                adapter = self.request.adapters.get(facts.api or "")
                plugin = enter(facts, self._code, replacing, adapter, self._observing)
                self._plugins[facts.artifact_digest] = plugin
                if replacing is not None:
                    del self._plugins[replacing.facts.artifact_digest]
        plugin.check()
        return plugin

    def refresh(self) -> None:
        """Fetch trust and list now, and judge loaded plugins by them; the old ones stay in force if that fails.

        Raises:
            Unreachable: the server did not answer.
            Refused: what it answered is not acceptable.
        """
        self._refresh(None)

    def _hear(self, announcement: Announcement) -> None:
        """Judge what runs by a pushed head at once, and then adopt it as a fetched one."""
        self._go_ahead(self._now(), announcement)
        self._refresh(announcement)

    def _refresh(self, offer: Announcement | None) -> None:
        now = self._now()
        try:
            self._prepared_refresher().refresh(now, offer=offer, damaged=self._damaged())
        except Unreachable as error:
            if error.code == "io.failed":  # on a full disk or a read-only one, what is heard counts all the same
                self._go_ahead(now, offer)
            raise
        finally:
            # Also after a failure: a new policy may be in force without the list, or another process had more luck.
            self._ground_at(now)

    def _go_ahead(self, now: datetime, offer: Announcement | None) -> None:
        """Judge what runs by a list that is not stored; it holds also where it cannot be."""
        try:
            known = self._ground_at(now)
            ground = self._prepared_refresher().ahead(known, now, offer)
            with self._lock:
                if self._opened.ground is known:  # else something else has come, and this is heard of again
                    self._judge(ground)
                    self._opened = self._opened._replace(ground=ground)
        except (Refused, Unreachable) as error:
            logger.debug("a list was not used ahead of being stored: %s", error)  # storing it tells why
        self._tell()

    def watch(
        self,
        interval: float = 60.0,
        on_failure: Callable[[Exception], object] | None = None,
        *,
        push: bool = True,
        acknowledge: bool = True,
    ) -> None:
        """Keep trust and list fresh in the background, with jitter, also across ``fork``. Watching twice is watching
        once.

        Args:
            interval: seconds between two passes; at most a day.
            push: also listen to the server's push stream, so that a revocation arrives within a moment. Where the
                server has none, the passes are all there is.
            on_failure: is called with what a pass raised, after it was logged: the place to alarm.
            acknowledge: also tell the server which list is in force and which plugins run, if this host was given an
                identity (``loadlock host identify``).

        Raises:
            UsageError: ``usage.arguments`` for an interval out of range.
        """
        from verifier.refreshing.acknowledging import in_effect, reporter_of
        from verifier.refreshing.push import Listener
        from verifier.refreshing.transport import Transport
        from verifier.refreshing.watch import Watcher

        if not 0 < interval <= MAX_INTERVAL:
            raise UsageError(
                "usage.arguments", "the interval of watching is out of range", found=repr(interval),
                expected=f"more than 0 and at most {MAX_INTERVAL} seconds", todo="Pass another interval.",
            )  # fmt: skip
        with self._lock:
            if self._watcher is None:
                self._prepared_refresher()
                watcher = Watcher(self.refresh, interval=interval, on_failure=on_failure)
                watcher.start()  # raises where the system has no thread left: then this gate does not watch yet
                self._watcher = watcher
                if push:
                    self._listener = Listener(Transport(self.home.host.server), self._hear)
                    self._listener.start()
                if acknowledge:
                    self._reporter = reporter_of(
                        self.home, lambda: in_effect(self._opened.ground, self.plugins), self._now
                    )
                    if self._reporter is not None:
                        self._reporter.start()

    def close(self) -> None:
        """Stop watching. Loaded plugins stay loaded, and are judged again only when something is verified."""
        with self._lock:
            threads = (self._reporter, self._watcher, self._listener)
            self._reporter = self._watcher = self._listener = None
        for thread in threads:
            if thread is not None:
                thread.stop()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepared_refresher(self) -> Refresher:
        from verifier.refreshing.fork_safe import Refresher  # who loads plugins alone needs none of it

        if self._refresher is None:
            self._refresher = Refresher(self.home)
        return self._refresher

    def _now(self) -> datetime:
        now = self._clock()
        if now.utcoffset() is None:
            raise UsageError(
                "usage.configuration", "the gate's clock does not say which zone its times are of", found=str(now),
                expected="aware times, such as datetime.now(UTC)",
            )  # fmt: skip
        return now

    def _ground_at(self, now: datetime) -> Ground:
        """The ground in force, opened again if that on disk is another, or time may have told on it."""
        try:
            with self._lock:
                if is_due(self._opened, self.home, now):
                    self._reopen(now)
                return self._opened.ground
        finally:
            self._tell()

    def _reopen(self, now: datetime) -> None:
        """Open what is on disk, and judge by it what runs."""
        opened = reopen(self._opened, self.home, now)
        if opened.damage is not None and self._opened.damage is None:
            logger.warning("%s", opened.ground.warnings[0])
        self._judge(opened.ground)
        self._opened = opened  # last, so that a process that is forked before judges again

    def _damaged(self) -> InForce | None:
        """What this process goes by although its directory holds something else, for a refresh to mend it from."""
        with self._lock:
            return None if self._opened.damage is None else self._opened.in_force

    @property
    def _exceptions(self) -> Exceptions:
        from verifier.installed.unattested import Exceptions  # hosts of wheels alone need none of it

        with self._lock:
            if self._let_in is None:
                self._let_in = Exceptions(self.home, self._observing)
            return self._let_in

    def _judge(self, ground: Ground) -> None:
        """Revoke what runs and may not, by this ground."""
        if self._let_in is not None:
            self._let_in.judge(ground)
        for plugin in self.plugins:
            if plugin.revoked is None:
                try:
                    check_standing(plugin.facts, ground, self.request)
                except PluginRevoked as error:
                    self._to_tell.setdefault(plugin.facts.artifact_digest, (plugin, error))
                    plugin.revoke(error)

    def _tell(self) -> None:
        """Call the host's callback, holding no lock: it may load another plugin, or wait for a thread that does."""
        for digest in list(self._to_tell):
            news = self._to_tell.pop(digest, None)  # another thread may have told it
            if news is not None and self._on_revoked is not None:
                try:
                    self._on_revoked(*news)
                except (Exception, SystemExit):  # a thread cannot end the process; it could end the watch
                    logger.exception("the host's on_revoked callback raised an error")

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()


def _renew_locks_in_child() -> None:
    # The watcher's thread may have held a gate's lock when the process forked, and it does not exist in the child.
    for gate in list(_gates):
        gate._renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks_in_child)

__all__ = ["EntryPoint", "Gate", "Ground", "Outcome", "Plugin", "Request", "VerifiedPlugin", "open_ground"]
