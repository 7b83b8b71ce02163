"""What was recorded of a run: kept without a lock, since any line of Python may be interrupted by what is recorded.

What comes again is counted, not recorded again, so that the cap is one of different things. Specified in
``docs/spec/observation.md``.
"""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any, Final, Literal, NamedTuple

import msgspec

from verifier.clock import Clock

MAX_RECORDS: Final = 1_000
"""How many different things are recorded of one run; of the rest only the number is known."""
MAX_TARGET: Final = 255
"""How many characters of a target are kept."""

Kind = Literal["resolve", "connect", "send", "request", "process", "library"]
Transport = Literal["tcp", "udp", "unix", "other", ""]
Coverage = Literal["none", "in-process"]


class Event(NamedTuple):
    """What a plugin reached for.

    Attributes:
        kind: ``resolve`` a name, ``connect`` or ``send`` to an address, an HTTP ``request``, a new ``process``, a
            ``library`` opened by ctypes.
        target: the host as it was named, the path of a socket, the program, the library.
        port: if there is one.
        transport: of a connection.
        scheme: ``http`` or ``https`` where that is known.
    """

    kind: Kind
    target: str
    port: int | None = None
    transport: Transport = ""
    scheme: str = ""


class Whose(NamedTuple):
    """Whom an event was attributed to, and by what; see :class:`verifier.runtime.attribution.Trace`."""

    plugin_id: str
    artifact_digest: str
    run_id: str
    how: Literal["frames", "run", "thread", "nobody"]
    ambiguous: bool


class Record(msgspec.Struct, frozen=True):
    """One thing that was reached for, never what was said to it.

    Attributes:
        at: when it was first (aware, UTC), by the run's clock.
        times: how often.
        event: what.
        whose: by whom, and how that is known.
    """

    at: datetime
    times: int
    event: Event
    whose: Whose

    @property
    def document(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        at = self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"at": at, "times": self.times, **self.event._asdict(), **self.whose._asdict()}


class Observed(msgspec.Struct, frozen=True):
    """What was recorded up to one moment; it does not change.

    Attributes:
        coverage: ``in-process``: by Python's audit events, as far as those go. ``none``: nothing was recorded at all.
        records: in the order of their first time.
        beyond: how many events came after the cap was reached, and were none of those recorded.
        failures: how many events of the whole process could not be recorded, so far, for whatever reason.
    """

    coverage: Coverage
    records: tuple[Record, ...] = ()
    beyond: int = 0
    failures: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "coverage": self.coverage,
            "records": [record.document for record in self.records],
            "beyond": self.beyond,
            "failures": self.failures,
        }


UNOBSERVED: Final = Observed("none")
"""What is known of a run that nobody observed."""


class Counter:
    """Counts in one atomic step, without a lock that a fork or a signal could find held."""

    __slots__ = ("_tickets",)

    def __init__(self) -> None:
        self._tickets = count()

    def add(self) -> None:
        """One more."""
        next(self._tickets)

    @property
    def value(self) -> int:
        """How many there were. A count tells so in its repr alone, unless one takes another from it."""
        return int(repr(self._tickets).removeprefix("count(").removesuffix(")"))


FAILURES: Final = Counter()
"""How many events of this process could not be recorded."""


class _Seen(NamedTuple):
    at: datetime
    times: Counter


class Log:
    """What one run does, as it comes. Safe from any thread, from a signal handler, and in a forked child.

    Args:
        clock: the run's.
        cap: how many different things are recorded.
    """

    __slots__ = ("_beyond", "_cap", "_clock", "_seen")

    def __init__(self, clock: Clock, cap: int = MAX_RECORDS) -> None:
        self._clock, self._cap = clock, cap
        self._seen: dict[tuple[Event, Whose], _Seen] = {}
        self._beyond = Counter()

    def add(self, event: Event, whose: Whose) -> None:
        """Record an event, or that it came once more, or that there was no room for it."""
        seen = self._seen.get((event, whose))
        if seen is None:
            if len(self._seen) >= self._cap:  # as many threads more as pass here at once
                self._beyond.add()
                return
            seen = self._seen.setdefault((event, whose), _Seen(self._clock(), Counter()))
        seen.times.add()

    def view(self) -> Observed:
        """What is recorded now."""
        records = (Record(at, times.value, *what) for what, (at, times) in list(self._seen.items()))
        return Observed("in-process", tuple(records), self._beyond.value, FAILURES.value)
