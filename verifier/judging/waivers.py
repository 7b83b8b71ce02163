"""Waivers of the policy: what two people let pass for one artifact, until a moment, and that it was used.

A waiver lifts an end that time alone has brought: of a certification, or of the revocation list's life. It never lifts
a signature, a revocation, a rollback or a covenant (docs/spec/policy.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from verifier.errors import Refused
from verifier.formats.policy import Policy
from verifier.formats.policy_terms import Lifted, Waiver
from verifier.formats.text import Digest
from verifier.revocation.revocation_list import Freshness, RevocationList

WORDS: Final[dict[Lifted, str]] = {
    "certification-expiry": "the end of the certification",
    "stale-list": "the end of the revocation list's life",
}


class Waivers:
    """The waivers in effect for one artifact, and which of them were needed.

    Args:
        policy: the verified policy.
        artifact: what is judged.
        now: the moment (aware, UTC); a waiver counts from when it was granted until before its end.

    Attributes:
        now: the moment.
        used: the waivers without which the artifact would have been refused.
    """

    def __init__(self, policy: Policy, artifact: Digest, now: datetime) -> None:
        self.now = now
        self._given = {
            waiver.lifts: waiver
            for waiver in policy.waivers
            if waiver.artifact == artifact and waiver.granted.instant <= now < waiver.until.instant
        }
        self.used: tuple[Waiver, ...] = ()

    def lift(self, what: Lifted, refusal: Refused) -> None:
        """Let a refusal pass if a waiver lifts it, and remember that.

        Raises:
            Refused: the refusal itself.
        """
        waiver = self._given.get(what)
        if waiver is None:
            raise refusal
        if waiver not in self.used:
            self.used = (*self.used, waiver)

    def freshness(self, revocations: RevocationList, grace: timedelta) -> Freshness:
        """How fresh the list is; raises ``list.stale`` as :meth:`RevocationList.freshness`, unless that is waived."""
        try:
            return revocations.freshness(self.now, grace)
        except Refused as refusal:
            self.lift("stale-list", refusal)
            return Freshness(False, self.now - revocations.head.issued.instant)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for an operator, one for each waiver that was used."""
        return tuple(map(sentence, self.used))


def sentence(waiver: Waiver) -> str:
    """What a waiver lets pass, in words."""
    who = f"asked for by {waiver.asked_by}, approved by {waiver.approved_by}"
    return f"waiver {waiver.id} lifts {WORDS[waiver.lifts]} until {waiver.until} ({who}): {waiver.reason}"
