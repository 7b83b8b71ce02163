"""Revoking many at once: digests and standing rules in one step of the list, all or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from crl_server.records.audit import Act
from crl_server.revocation import reach, reinstating, revoking, standing
from crl_server.revocation.revoking import Why
from crl_server.revocation.standing import NewRule
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import Ledger
from verifier.errors import UsageError
from verifier.formats.revocations import Rule, number_of
from verifier.formats.strict_json import Document, dumps
from verifier.formats.text import Digest, Hex

MAX_DIGESTS = 10_000
"""How many digests one sweep may name."""
MAX_RULES = 1_000
"""How many rules one sweep may bring."""
SHOWN = 1_000
"""How many digests an answer names."""


class Swept(Document, frozen=True, kw_only=True):
    """What a sweep led to.

    Attributes:
        seq: the list's event that covers it.
        listed: how many digests are new on the list, with ``digests`` the first of them.
        already: how many were there before.
        rules: the ids of the rules that it put in force.
        in_force: how many of its rules were in force before.
    """

    seq: int
    listed: int
    digests: tuple[Digest, ...]
    already: int
    rules: tuple[str, ...]
    in_force: int


@dataclass(frozen=True)
class Sweep:
    """What is to be revoked at once.

    Attributes:
        digests: artifacts, each once; they need not have been admitted.
        why: why these are revoked; each rule says it for itself.
        rules: standing rules to put in force.
        resolve: revoke what the rules match today, and put none of them in force.
        confirm: how many admitted artifacts it may newly deny, beyond what passes without a confirmation.

    Raises:
        UsageError: ``usage.arguments``.
    """

    digests: tuple[Digest, ...]
    why: Why
    rules: tuple[NewRule, ...] = ()
    resolve: bool = False
    confirm: int = 0

    def __post_init__(self) -> None:
        digests, some = len(self.digests), len(self.rules)
        if not digests + some or digests > MAX_DIGESTS or len(set(self.digests)) != digests or some > MAX_RULES:
            raise UsageError(
                "usage.arguments", "what is to be revoked", found=f"{digests} digests and {some} rules",
                expected=f"up to {MAX_DIGESTS} digests, each once, and up to {MAX_RULES} rules",
            )  # fmt: skip

    @property
    def fingerprint(self) -> Hex:
        """What tells this sweep from another."""
        some = [rule.fingerprint for rule in self.rules]
        return fingerprint(b"sweep", dumps([sorted(self.digests), list(self.why), some, self.resolve]))


class _Plan(NamedTuple):
    """What a sweep comes to, given what there is: rules that are new, under their ids, and whom they reach."""

    new_rules: dict[str, NewRule]
    in_force: int
    reached: dict[str, list[Digest]]

    @property
    def matched(self) -> dict[Digest, Why]:
        """Whatever a rule matches, with the reason of the first that does."""
        return {
            digest: self.new_rules[rule].why
            for rule in reversed(list(self.new_rules))
            for digest in self.reached.get(rule, ())
        }


def targets(ledger: Ledger, sweep: Sweep) -> list[Digest]:
    """Every digest that a sweep would deny: those named, and what its rules match of what was admitted."""
    return list(dict.fromkeys([*sweep.digests, *_plan(ledger, sweep).matched]))


def commit(ledger: Ledger, sweep: Sweep, through: int, actor: str, now: datetime) -> Swept:
    """Put a sweep on the list and into the audit log, all or none.

    Args:
        ledger: an open transaction, so that nothing is admitted meanwhile.
        sweep: what is to be revoked.
        through: the last event that the checkpoint has taken into its base.
        actor: who revokes.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``list.full``; ``revocation.reach`` when it would deny more than passes without a confirmation.
    """
    plan = _plan(ledger, sweep)
    new_rules = {} if sweep.resolve else plan.new_rules
    standing.check_room(standing.in_force(ledger), _rules(new_rules))
    named = dict.fromkeys(sweep.digests, sweep.why)
    wanted = plan.matched | named
    listed = {digest: ledger.listed(digest) for digest in wanted}
    new = [digest for digest, seq in listed.items() if seq is None]
    revoking.check_room(ledger, new, through)
    revoking.check_reach(ledger, new, sweep.confirm)
    if new or new_rules:
        seq = ledger.add_event(new, now)
    else:
        seq = max((seq for seq in listed.values() if seq is not None), default=ledger.last_seq())
    revoking.give_reasons(ledger, wanted if sweep.resolve else named, listed, seq, actor, now)
    for rule_id, rule in new_rules.items():
        standing.put(ledger, rule, int(rule_id[1:]), seq, plan.reached.get(rule_id, []), actor, now)
    detail = {"seq": seq, "digests": len(sweep.digests), "rules": len(new_rules), "listed": len(new),
              "resolved": sweep.resolve, "confirmed": sweep.confirm}  # fmt: skip
    ledger.record(Act(actor, "list.sweep", f"seq {seq}", detail), now)
    return Swept(
        seq=seq, listed=len(new), digests=tuple(new[:SHOWN]), already=len(wanted) - len(new), rules=tuple(new_rules),
        in_force=plan.in_force,
    )  # fmt: skip


def _plan(ledger: Ledger, sweep: Sweep) -> _Plan:
    ending = reinstating.ending(ledger)  # made before: it must not withdraw what is revoked now
    lasting = (rule for rule in standing.in_force(ledger).rules if number_of(rule.id) not in ending)
    known = {(rule.kind, dumps(rule.match)) for rule in lasting}
    fresh = [rule for rule in sweep.rules if sweep.resolve or (rule.kind, dumps(rule.match)) not in known]
    number = standing.next_number(ledger)
    new_rules = {f"R{number + index}": rule for index, rule in enumerate(fresh)}
    return _Plan(new_rules, len(sweep.rules) - len(fresh), reach.reached(ledger, _rules(new_rules)))


def _rules(new_rules: dict[str, NewRule]) -> Sequence[Rule]:
    return [rule.numbered(int(rule_id[1:])) for rule_id, rule in new_rules.items()]
