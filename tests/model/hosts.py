"""Hosts that lag, and a thief who holds the head key and the wire: everything that reaches a host may be his."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

import msgspec

from tests.model.deployment import LIFE, Deployment, Trust, View, digest, signer_of
from verifier.errors import Refused
from verifier.formats.revocations import Rules, RulesRef, SegmentRef, TrustMinimum, dump, dump_set_file, prefix_of
from verifier.formats.text import Digest, Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import apply_head, open_list
from verifier.signatures.private_keys import PrivateKey


class Host:
    """One host: the trust and the list it has in force, refreshed as :mod:`verifier.refreshing.refresh` does."""

    def __init__(self, view: View, now: datetime) -> None:
        self.trust = view.trust
        self.list = apply_head(None, view.envelope, view.files, view.trust, now)

    def refresh(self, view: View, now: datetime) -> None:
        """Take what is shown: under the trust in force, or else under the newer one; both are put in force together.

        Raises:
            Refused: what was in force still is, but for a newer trust that fits the list in force.
        """
        try:
            self._adopt(self.trust, apply_head(self.list, view.envelope, view.files, self.trust, now))
        except Refused:
            if view.trust.number <= self.trust.number:
                raise
        if view.trust.number > self.trust.number:
            try:
                new = apply_head(self.list, view.envelope, view.files, view.trust, now)
            except Refused:
                self._renew_trust_alone(view, now)
                raise
            self._adopt(view.trust, new)

    def denies(self, artifact: int) -> bool:
        """Whether this host refuses to load the artifact."""
        return self.list.lists(digest(artifact)) or bool(list(self._rules_against(artifact)))

    def last_event_with(self, artifact: int) -> int:
        """The last event by which this host may have learned of the artifact; 0 when it is in the base alone."""
        prefix = prefix_of(digest(artifact))
        return max((segment.ref.last for segment in self.list.tail if prefix in segment.prefixes), default=0)

    def _rules_against(self, artifact: int) -> Iterable[str]:
        for rule in self.list.rules.rules:
            excepted = Digest(f"sha256:{digest(artifact)}") in rule.excepted
            if rule.match["principal"] == signer_of(artifact) and not excepted:
                yield rule.id

    def _renew_trust_alone(self, view: View, now: datetime) -> None:
        with suppress(Refused):  # as the refresher does: new trust waits for a head that fits it
            self._adopt(view.trust, open_list(self.list.envelope, view.files, view.trust, now, self.list))

    def _adopt(self, trust: Trust, new: RevocationList) -> None:
        assert (new.head.epoch, new.head.seq) >= (self.list.head.epoch, self.list.head.seq)
        self.trust, self.list = trust, new


class Thief:
    """Has one head key, everything that was ever published, and the wire between the service and a host."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key

    def forge(
        self,
        deployment: Deployment,
        trust: Trust,
        *,
        base_on: RevocationList,
        hide: frozenset[int],
        invent: frozenset[int],
        hide_rules: frozenset[int],
        jump: int,
    ) -> View:
        """A head under ``trust``: ``base_on`` with entries and rules left out, others invented, another number."""
        through = trust.checkpoint.through
        hidden = {prefix_of(digest(artifact)) for artifact in hide}
        entries = {prefix_of(digest(artifact)) for artifact in invent} | (base_on.added - hidden)
        data = dump_set_file(entries)
        seq = max(base_on.head.seq + jump, through)
        segments: tuple[SegmentRef, ...] = ()
        if seq > through:
            name = deployment.keep("segments", data)
            segments = (SegmentRef(first=through + 1, last=seq, count=len(entries), sha256=name),)
        kept = tuple(rule for rule in base_on.rules.rules if int(rule.id[1:]) not in hide_rules)
        rules_file = dump(Rules(v=1, rules=kept))
        head = msgspec.structs.replace(
            base_on.head,
            epoch=trust.checkpoint.epoch,
            seq=seq,
            segments=segments,
            rules=RulesRef(sha256=deployment.keep("rules", rules_file), count=len(kept)),
            trust=TrustMinimum(root=1, targets=1),
            issued=Time.of(deployment.now),
            expires=Time.of(deployment.now + LIFE),
        )
        return View(deployment.sign(head, self.key), deployment.files, trust)
