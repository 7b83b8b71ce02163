"""How many writes somebody may send: a bucket of tokens for each identity, refilled at a steady rate. Pure.

Buckets live in the memory of one process: where several serve a deployment, each grants the rate by itself.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from verifier.errors import Refused

MAX_BUCKETS = 10_000
"""How many identities are remembered; the one that wrote the longest ago is forgotten first."""


@dataclass(frozen=True)
class Rate:
    """What an identity may do: ``burst`` writes at once, and ``each_second`` of them in the long run."""

    burst: int
    each_second: float


class TooMany(Refused):
    """Somebody writes too fast.

    Attributes:
        seconds: after how many the next write will pass.
    """

    def __init__(self, actor: str, rate: Rate, seconds: int) -> None:
        super().__init__(
            "request.rate", f"{actor} writes too fast", found=f"more than {rate.burst} writes at once",
            expected=f"{rate.each_second:g} a second; the next one in {seconds} s",
        )  # fmt: skip
        self.seconds = seconds


class _Bucket(NamedTuple):
    left: float
    at: datetime


class Buckets:
    """The buckets of all identities. Not safe from several threads.

    Args:
        rate: what each of them may do.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, actor: str, now: datetime) -> None:
        """Take one token out of an identity's bucket.

        Raises:
            TooMany: ``request.rate``.
        """
        known = self._buckets.pop(actor, _Bucket(self._rate.burst, now))
        # A clock that was set back refills nothing, and takes nothing away.
        passed = max((now - known.at).total_seconds(), 0.0)
        left = min(known.left + passed * self._rate.each_second, float(self._rate.burst))
        self._buckets[actor] = _Bucket(left - 1 if left >= 1 else left, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if left < 1:
            raise TooMany(actor, self._rate, max(1, math.ceil((1 - left) / self._rate.each_second)))
