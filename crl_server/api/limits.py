"""How much somebody may send: a bucket of writes for each identity, refilled at a steady rate, and few uploads at a
time. Pure.

Buckets live in the memory of one process; the workers of a team share theirs (:mod:`crl_server.processes.quotas`).
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from verifier.errors import Refused

AGAIN = 5
"""After how many seconds it is worth asking again whether an earlier request has ended."""
MAX_BUCKETS = 10_000
"""How many identities are remembered; the one that wrote the longest ago is forgotten first."""


@dataclass(frozen=True)
class Rate:
    """What an identity may do: ``burst`` writes at once, and ``each_second`` of them in the long run."""

    burst: int
    each_second: float


class TooMany(Refused):
    """Somebody sends too much.

    Attributes:
        seconds: after how many the next request may pass.
    """

    def __init__(self, what: str, found: str, expected: str, seconds: int) -> None:
        super().__init__("request.rate", what, found=found, expected=expected)
        self.seconds = seconds


class Bucket(NamedTuple):
    """What is left in a bucket, and when somebody last took of it (aware, UTC)."""

    left: float
    at: datetime

    def drawn(self, rate: Rate, now: datetime) -> tuple[Bucket, float]:
        """The bucket after one more draw, and what was in it before: less than one is not enough."""
        # A clock that was set back refills nothing, and takes nothing away.
        passed = max((now - self.at).total_seconds(), 0.0)
        left = min(self.left + passed * rate.each_second, float(rate.burst))
        return Bucket(left - 1 if left >= 1 else left, now), left


class Writes(Protocol):
    """Grants writes."""

    def take(self, actor: str, now: datetime) -> None:
        """Grant one to an identity.

        Raises:
            TooMany: ``request.rate``.
        """


class Buckets:
    """The buckets of all identities. Not safe from several threads.

    Args:
        rate: what each of them may do.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, actor: str, now: datetime) -> None:
        """Take one token out of an identity's bucket.

        Raises:
            TooMany: ``request.rate``.
        """
        known = self._buckets.pop(actor, Bucket(self._rate.burst, now))
        self._buckets[actor], left = known.drawn(self._rate, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        check_left(actor, self._rate, left)


def check_left(actor: str, rate: Rate, left: float) -> None:
    """Demand that there was enough in a bucket for one more write.

    Raises:
        TooMany: ``request.rate``.
    """
    if left < 1:
        seconds = max(1, math.ceil((1 - left) / rate.each_second))
        raise TooMany(
            f"{actor} writes too fast", f"more than {rate.burst} writes at once",
            f"{rate.each_second:g} a second; the next one in {seconds} s", seconds,
        )  # fmt: skip


class Turns:
    """How many requests of one kind each identity has under way. Not safe from several threads.

    Args:
        most: how many it may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextmanager
    def of(self, actor: str) -> Iterator[None]:
        """Have one more under way.

        Raises:
            TooMany: ``request.rate``.
        """
        if self._taken[actor] >= self._most:
            raise TooMany(
                f"{actor} sends too many of these at a time", f"{self._most} that are under way",
                "one that begins when another has ended", AGAIN,
            )  # fmt: skip
        self._taken[actor] += 1
        try:
            yield
        finally:
            self._taken[actor] -= 1
            self._taken += Counter()  # who has none is forgotten
