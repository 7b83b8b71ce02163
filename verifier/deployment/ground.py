"""Opening the ground that plugins are judged against: what the host's directory holds, verified again each time."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Self

from verifier.deployment.home import Home, InForce, State
from verifier.errors import Refused
from verifier.judging.verify import Ground

ATTEMPTS = 5
"""How often what is on disk is read again because another process replaced it meanwhile."""


class Opened(NamedTuple):
    """A ground that was opened.

    Attributes:
        ground: what plugins are judged against.
        state: the record that named it.
        moment: when it was opened, or judged good again.
        found: the record that lay in the directory then, None for one that could not be used.
        damage: why it is not what lies in the directory now, if so.
    """

    ground: Ground
    state: State
    moment: datetime
    found: State | None
    damage: Refused | None = None

    @property
    def in_force(self) -> InForce:
        """The same, as a refresh knows it."""
        ground = self.ground
        return InForce(self.state, ground.deployment, ground.floor, ground.trust, ground.revocations)

    @classmethod
    def at(cls, home: Home, now: datetime) -> Self:
        """Open the ground of a host; see :func:`open_ground`."""
        found = _in_force(home, now)
        ground = Ground(
            deployment=found.deployment,
            floor=found.floor,
            trust=found.trust,
            revocations=found.revocations,
            time_floor=found.time_floor,
            stateless=home.host.stateless,
        )
        return cls(ground, found.state, now, found.state)


def open_ground(home: Home, now: datetime) -> Ground:
    """Verify again what is stored: trust from the pinned root, and the revocation list from that.

    Args:
        home: the host's deployment directory.
        now: the clock's time (aware, UTC).

    Raises:
        Refused: any ``trust.*`` or ``list.*`` code.
    """
    return Opened.at(home, now).ground


def _in_force(home: Home, now: datetime) -> InForce:
    """What the host goes by; asked again when it was replaced, and the old files swept away, while it was read."""
    for _ in range(ATTEMPTS):
        state = home.state()
        try:
            return home.in_force(now)
        except Refused:
            if home.state() == state:
                raise
    return home.in_force(now)
