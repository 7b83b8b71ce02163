"""What a gate does with plugins that pip or uv has installed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from verifier.collecting import seldom
from verifier.deployment.home import Home
from verifier.errors import Refused
from verifier.installed.installations import Installation, find_installation
from verifier.judging.decide import Request
from verifier.judging.steps import Outcome
from verifier.judging.verdicts import Verdicts
from verifier.judging.verify import Ground, VerifiedPlugin, WheelReader, judge
from verifier.plugin import Plugin

if TYPE_CHECKING:
    from verifier.installed.unattested import Exceptions, Unattested


class InstalledGate(ABC):
    """The part of :class:`verifier.Gate` that is about installed plugins."""

    home: Home
    request: Request
    _read: WheelReader
    _verdicts: Verdicts | None

    @property
    @abstractmethod
    def _exceptions(self) -> Exceptions:
        """What was let in by way of exception, and what may be."""

    @abstractmethod
    def _now(self) -> datetime:
        """The time, by the gate's clock."""

    @abstractmethod
    def _ground_at(self, now: datetime) -> Ground:
        """The ground in force."""

    @abstractmethod
    def _enter(self, facts: VerifiedPlugin, judged_by: Ground, replacing: Plugin | None) -> Plugin:
        """Make what was verified callable; ``judged_by`` is what it was judged against."""

    def verify_installed(
        self, name: str, observe: Callable[[Outcome], None] | None = None, *, site: Path | str | None = None
    ) -> VerifiedPlugin:
        """Verify a plugin that pip or uv has installed, every file of it, without loading it.

        Args:
            name: the distribution's name, in any spelling.
            observe: is told the outcome of each step.
            site: the site directory that it is installed in; where an import would find it if None.

        Raises:
            Refused: with the code and step of the first check that said no; an ``installed.*`` code.
            UsageError: ``installed.unknown``; ``io.failed``.
        """
        found = find_installation(name, None if site is None else [str(site)])
        return self._installed(found, observe, thorough=True)[0]

    @seldom()
    def load_installed(self, name: str) -> Plugin:
        """Verify a plugin that pip or uv has installed, and make it callable; each file is verified when it is used.

        Args:
            name: the distribution's name, in any spelling; what an import would take is meant.

        Raises:
            Refused: as :meth:`verify_installed`, or because it cannot be loaded into this process. A file that was
                changed is refused when it is used: by whatever imports or reads it.
            UsageError: as :meth:`verify_installed`.
        """
        return self._enter(*self._installed(find_installation(name), None, thorough=False), None)

    def load_unattested(self, name: str) -> Plugin | Unattested:
        """As :meth:`load_installed`; where nobody attested the plugin and the signed policy is of the profile
        ``migration`` or ``development``, load it all the same, warn, and write it into the report.

        Raises:
            Refused, UsageError: as :meth:`load_installed`, where no exception holds; PluginRevoked: news have come.
            Unreachable: ``io.failed``: the report cannot be written.
        """
        try:
            return self.load_installed(name)
        except Refused as refusal:
            now = self._now()
            found = self._exceptions.load(name, refusal, self._ground_at(now), now)
            self._exceptions.judge(self._ground_at(now))  # news may have come before it was among those judged by them
            found.check()
            return found

    def examine_unattested(self, name: str, refusal: Refused) -> Unattested:
        """What :meth:`load_unattested` would let in by way of exception after this refusal; nothing is loaded.

        Raises:
            Refused: the refusal, where no exception holds; or what policy and list refuse anyhow.
            UsageError: ``installed.unknown``.
        """
        now = self._now()
        return self._exceptions.examine(name, refusal, self._ground_at(now), now)

    def _installed(
        self, installation: Installation, observe: Callable[[Outcome], None] | None, *, thorough: bool
    ) -> tuple[VerifiedPlugin, Ground]:
        from verifier.installed.attested import attested_for, candidate_of  # hosts of wheels alone need none of it

        now = self._now()
        chosen = attested_for(self.home, installation)
        candidate = candidate_of(installation, chosen, thorough=thorough)
        ground = self._ground_at(now)
        known = self._verdicts
        return judge(candidate, chosen.attestations, ground, now, self.request, observe, self._read, known), ground
