"""The plugins of a host: found in its directories or installed, judged by its gate, handed out by group and name.

Of each plugin the newest release that verifies is loaded, or the one that is installed; nothing is imported before it
is used. What is not let in is kept with its reason, and the host goes on without it, unless its settings require it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from verifier.clock import Clock, utc_now
from verifier.deployment.home import Home
from verifier.errors import LoadlockError, PluginRevoked, UsageError
from verifier.gate import Gate
from verifier.hosting.settings import Settings
from verifier.judging.decide import Adapter
from verifier.plugin import EntryPoint, Plugin
from verifier.value import Value

logger = logging.getLogger(__name__)

Listener = Callable[[Plugin, PluginRevoked], object]


class RefusedPlugin(Value, frozen=True):
    """A wheel that was not let in, or a plugin that failed when it was first used.

    Attributes:
        path: the wheel; of a plugin that is installed, its distribution's name.
        error: why.
    """

    path: Path
    error: LoadlockError

    def __str__(self) -> str:
        return f"{self.path.name}: {self.error}"


class Plugins:
    """A gate, and all that it let in. Safe from any thread, and in a forked child.

    Args:
        settings: where the plugins lie and what is wanted of them.
        on_revoked: is told once of each plugin that may no longer run, after those that subscribed.
        on_failure: is called with what a pass of the watch raised.
        clock: tells the time (aware, UTC).
        adapters: by older API version, what lets the host call plugins that take that and not its own.

    Attributes:
        settings: as given.
        gate: verifies, and judges again what runs.
        loaded: the plugins, by id.

    Raises:
        Refused: trust or list are missing, damaged or rolled back; or a required plugin was refused, with its code.
        UsageError: ``usage.configuration`` for a directory that is not there, or a required plugin that no wheel is of.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_revoked: Listener | None = None,
        on_failure: Callable[[Exception], object] | None = None,
        clock: Clock = utc_now,
        adapters: Mapping[str, Adapter] | None = None,
    ) -> None:
        self.settings = settings
        # Changed by single steps of a list alone, which no thread sees halfway and no fork finds locked.
        self._listeners: list[Listener] = [] if on_revoked is None else [on_revoked]
        self._refused: list[RefusedPlugin] = []
        self.gate = Gate(
            Home(settings.deployment), request=settings.request(adapters), clock=clock, on_revoked=self._on_revoked,
            cache=settings.cache, wheelhouse=settings.wheelhouse, libraries=settings.libraries,
            observe=settings.observe,
        )  # fmt: skip
        self.loaded: tuple[Plugin, ...] = tuple(self._load())
        self._check_required()
        if settings.watch:
            self.gate.watch(settings.interval, on_failure, push=settings.push)

    @classmethod
    def open(
        cls,
        place: Path | str | None = None,
        *,
        on_revoked: Listener | None = None,
        on_failure: Callable[[Exception], object] | None = None,
        adapters: Mapping[str, Adapter] | None = None,
    ) -> Plugins:
        """The plugins of a host by its settings; see :meth:`Settings.find` for where they are looked for.

        Raises:
            UsageError: as :meth:`Settings.find`; Refused and UsageError as the constructor.
        """
        return cls(Settings.find(place), on_revoked=on_revoked, on_failure=on_failure, adapters=adapters)

    @property
    def refused(self) -> tuple[RefusedPlugin, ...]:
        """What was not let in, and what failed since when it was used."""
        return tuple(self._refused)

    def entry_points(self, group: str, name: str | None = None) -> list[EntryPoint]:
        """The entry points of a group, out of the signed manifests of plugins that may run; in the order of ids.

        Args:
            group: as in ``importlib.metadata``.
            name: only those of this name.
        """
        return [
            point
            for plugin in self.loaded
            if plugin.revoked is None
            for named, point in sorted(plugin.entry_points.get(group, {}).items())
            if name is None or named == name
        ]

    def subscribe(self, listener: Listener) -> None:
        """Have one more listener told of each plugin that may no longer run; before the host's own callback."""
        self._listeners.insert(0, listener)

    def report(self, plugin: Plugin, error: LoadlockError) -> None:
        """Put a plugin that failed when it was first used among the refused ones."""
        self._refuse(Path(plugin.facts.snapshot.file_name), error)

    def close(self) -> None:
        """Stop watching. What is loaded stays loaded."""
        self.gate.close()

    def __enter__(self) -> Plugins:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self) -> Iterator[Plugin]:
        for candidates in self._candidates().values():
            newest = self._newest(candidates)
            if newest is not None:
                try:
                    yield self.gate.load(newest)
                except LoadlockError as error:
                    self._refuse(newest, error)
        for name in self.settings.installed:
            try:
                yield self.gate.load_installed(name)
            except LoadlockError as error:
                self._refuse(Path(name), error)

    def _newest(self, candidates: list[Path]) -> Path | None:
        """The newest of a plugin's wheels that verifies; alone, it is verified when it is loaded."""
        if len(candidates) == 1:
            return candidates[0]
        for wheel in candidates:
            try:
                self.gate.verify(wheel)
                return wheel
            except LoadlockError as error:
                self._refuse(wheel, error)
        return None

    def _candidates(self) -> dict[str, list[Path]]:
        """The wheels of all directories by distribution, the newest first."""
        return newest_first(self.settings.wheels())

    def _check_required(self) -> None:
        missing = set(self.settings.required) - {plugin.facts.plugin_id for plugin in self.loaded}
        for plugin_id in sorted(missing):
            for refused in self._refused:
                if _distribution(refused.path).replace("-", "_") == plugin_id:
                    raise refused.error
            raise UsageError(
                "usage.configuration", "a required plugin is not there", found=plugin_id,
                expected="a wheel of it in " + ", ".join(map(str, self.settings.plugins)) + "; or that it is installed",
            )  # fmt: skip

    def _refuse(self, path: Path, error: LoadlockError) -> None:
        logger.warning("a plugin was not let in: %s: %s", path.name, error)
        self._refused.append(RefusedPlugin(path, error))

    def _on_revoked(self, plugin: Plugin, error: PluginRevoked) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(plugin, error)
            except (Exception, SystemExit):  # one that fails keeps no other from being told
                logger.exception("a listener raised an error when it was told of a revoked plugin")


def newest_first(wheels: Iterable[Path]) -> dict[str, list[Path]]:
    """Wheels by distribution, in the order in which a host lets them in; of each the newest release and build first."""
    found: dict[str, list[Path]] = {}
    for wheel in wheels:
        found.setdefault(_distribution(wheel), []).append(wheel)
    return {name: sorted(several, key=_order, reverse=True) for name, several in sorted(found.items())}


def _distribution(wheel: Path) -> str:
    """The normalised name of a wheel's distribution; what is no wheel's name is by itself, and will be refused."""
    try:
        return parse_wheel_filename(wheel.name)[0]
    except InvalidWheelFilename:
        return wheel.name


def _order(wheel: Path) -> tuple[object, ...]:
    try:
        _, version, build, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename:
        return (wheel.name,)
    return (version, build, wheel.name)
