"""What every plugin of a host is judged against."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

from msgspec.structs import replace

from verifier.deployment.trust import Trust
from verifier.errors import Refused
from verifier.formats.enrolment import Floor
from verifier.formats.policy import TierName
from verifier.formats.text import Name, Time
from verifier.judging.evidence import KeyRing
from verifier.revocation.revocation_list import RevocationList
from verifier.value import Value

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a machine's clock may lie behind the last signed time before nothing is judged any more."""


class Ground(Value, frozen=True, dict=True):
    """What every plugin of a host is judged against.

    Attributes:
        deployment: the deployment that the host is enrolled in.
        floor: the lowest trust and list versions that it accepts.
        trust: verified trust.
        revocations: the revocation list in force.
        time_floor: the latest signed moment this host has seen.
        stateless: whether the host forgets what it has seen; then no list serves beyond its expiry.
        warnings: what every plugin's facts are to warn of.
    """

    deployment: Name
    floor: Floor
    trust: Trust
    revocations: RevocationList
    time_floor: Time
    stateless: bool = False
    warnings: tuple[str, ...] = ()

    @cached_property
    def ring(self) -> KeyRing:
        """Who signs for the policy's principals."""
        return KeyRing(self.trust.policy, self.trust.trusted_roots)

    def following(self, revocations: RevocationList, *warnings: str) -> Ground:
        """The same ground with another list in force, and with these warnings."""
        following = replace(self, revocations=revocations, warnings=warnings)
        following.__dict__["ring"] = self.ring  # which takes longer to make than a list to judge
        return following

    def grace_of(self, *tiers: TierName) -> timedelta:
        """For how long an expired list serves, in the tier of these that grants most."""
        return timedelta(0) if self.stateless else max(self.trust.policy.tiers[tier].grace.span for tier in tiers)

    def fix_time(self, wall: datetime) -> datetime:
        """The moment at which all is judged: the later of the clock and the last signed time.

        Raises:
            Refused: ``clock.behind`` when the clock is more than five minutes behind.
        """
        signed = max(self.time_floor, self.revocations.head.issued).instant
        if wall < signed - CLOCK_TOLERANCE:
            raise Refused(
                "clock.behind", "this machine's clock is behind a moment that was already signed",
                found=f"{wall:%Y-%m-%dT%H:%M:%SZ}", expected=f"{signed:%Y-%m-%dT%H:%M:%SZ} or later",
            )  # fmt: skip
        return max(wall, signed)
