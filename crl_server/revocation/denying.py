"""How the authority revokes: an order, a rule, many at once. Each is one transaction, and published before it is
answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from crl_server.fleet.hearing import Hearing
from crl_server.lists.publishing import Publisher
from crl_server.revocation import revoking, standing, sweeping
from crl_server.revocation.revoking import Order, Revoked
from crl_server.revocation.standing import NewRule, Radius, RuleAdded
from crl_server.revocation.sweeping import Sweep, Swept
from crl_server.storage import idempotency
from crl_server.storage.idempotency import Asked, once
from crl_server.storage.ledger import Ledger
from crl_server.storage.store import Store
from crl_server.trust.repository import Repository
from verifier.errors import LoadlockError, Refused
from verifier.formats.text import Digest
from verifier.revocation.revocation_list import RevocationList

Done = TypeVar("Done", Revoked, RuleAdded, Swept)


class Denying:
    """The part of the authority that revokes; the rest of it is :class:`crl_server.service.Authority`."""

    store: Store
    publisher: Publisher
    repository: Repository
    hearing: Hearing

    def revoke(self, order: Order, actor: str, now: datetime, key: str = "") -> Revoked:
        """Revoke artifacts. When this returns, the signed list on disk names every one of them.

        Args:
            order: what, and why.
            actor: who revokes.
            now: the moment (aware, UTC).
            key: an idempotency key; empty for none.

        Raises:
            UsageError: ``usage.arguments``; ``usage.key``, ``io.failed`` without a usable head key.
            Refused: ``list.full``, ``request.idempotency``; ``server.*``, ``clock.behind`` when the revocation is
                committed and cannot be published yet.
            Unreachable: ``io.failed``, likewise.
        """
        asked = Asked(actor, key, order.fingerprint)

        def commit(ledger: Ledger, through: int) -> Revoked:
            return revoking.commit(ledger, order, through, actor, now)

        done, published = self._deny(asked, Revoked, commit, now)
        self._check_named(published, order.digests)
        return done

    def radius(self, wanted: NewRule | Order | Sweep, now: datetime) -> Radius:
        """Which admitted artifacts something would reach, and which hosts run them; nothing is changed.

        Raises:
            Unreachable: ``io.failed``.
        """
        self.hearing.keep()
        with self.store.read() as ledger:
            if isinstance(wanted, NewRule):
                return standing.radius_of_rule(ledger, wanted, now)
            digests = tuple(sweeping.targets(ledger, wanted)) if isinstance(wanted, Sweep) else wanted.digests
            return standing.radius_of_digests(ledger, digests, now)

    def add_rule(self, wanted: NewRule, actor: str, now: datetime, key: str = "") -> RuleAdded:
        """Put a standing rule in force. When this returns, the signed list on disk has it, and names every admitted
        artifact that it matches.

        Args:
            wanted: the rule.
            actor: who revokes.
            now: the moment (aware, UTC).
            key: an idempotency key; empty for none.

        Raises:
            As :meth:`revoke`.
        """
        asked = Asked(actor, key, wanted.fingerprint)

        def commit(ledger: Ledger, through: int) -> RuleAdded:
            return standing.commit(ledger, wanted, through, actor, now)

        done, published = self._deny(asked, RuleAdded, commit, now)
        self._check_named(published, (), (done.rule,))
        return done

    def sweep(self, wanted: Sweep, actor: str, now: datetime, key: str = "") -> Swept:
        """Revoke many at once, in one step of the list. When this returns, the signed list on disk has all of it.

        Args:
            wanted: digests and rules.
            actor: who revokes.
            now: the moment (aware, UTC).
            key: an idempotency key; empty for none.

        Raises:
            As :meth:`revoke`.
        """
        asked = Asked(actor, key, wanted.fingerprint)

        def commit(ledger: Ledger, through: int) -> Swept:
            return sweeping.commit(ledger, wanted, through, actor, now)

        done, published = self._deny(asked, Swept, commit, now)
        self._check_named(published, (*wanted.digests, *done.digests), done.rules)
        return done

    def _deny(
        self, asked: Asked, kind: type[Done], commit: Callable[[Ledger, int], Done], now: datetime
    ) -> tuple[Done, RevocationList]:
        """Commit what is to be denied, once, and publish it; ``commit`` is told where the checkpoint's base ends."""
        idempotency.check_key(asked.key)
        self.publisher.head_key()
        through = self.repository.trust().checkpoint.through
        with self.store.write() as ledger:
            done = once(ledger, asked, kind, lambda: commit(ledger, through), now)
        with _committed():
            return done, self.publisher.publish(now, done.seq)

    def _check_named(self, published: RevocationList, digests: Iterable[Digest], in_force: Iterable[str] = ()) -> None:
        """Demand that a list names what was answered, whether it was done just now or under the same key before.

        Raises:
            Refused: ``server.lint``; ``request.idempotency`` when it was done before and has been taken back since.
        """
        missing = [digest for digest in digests if not published.lists(digest)]
        rules = set(in_force).difference(rule.id for rule in published.rules.rules)
        if not missing and not rules:
            return
        found = ", ".join([*missing[:3], *sorted(rules)[:3]])
        with self.store.read() as ledger:
            still = rules.intersection(rule.id for rule in standing.in_force(ledger).rules)
            still.update(digest for digest in missing if ledger.listed(digest) is not None)
        if still:
            raise Refused("server.lint", "the published list lacks what was revoked", found=found)
        raise Refused(
            "request.idempotency", "what was revoked under this key has been taken back since", found=found,
            expected="another key, to revoke it once more",
        )  # fmt: skip


@contextmanager
def _committed() -> Iterator[None]:
    """Say of whatever fails now that the revocation itself stands."""
    try:
        yield
    except LoadlockError as error:
        error.todo = f"The revocation is recorded, but no host hears of it yet. {error.todo} Then revoke once more."
        raise
