"""Opening the ground that plugins are judged against: what the host's directory holds, verified again each time."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Self

from verifier.errors import Refused
from verifier.home import Home, InForce, State
from verifier.verify import Ground

ATTEMPTS = 5
"""How often what is on disk is read again because another process replaced it meanwhile."""


class Opened(NamedTuple):
    """A ground, the record that named it, and the moment at which it was opened."""

    ground: Ground
    state: State
    moment: datetime

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
        )
        return cls(ground, found.state, now)


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
