"""Publishing the list: from committed events to a signed head on disk, in an order that a crash cannot spoil.

1. under the lock, read trust, the head on disk, and the events that the database has committed
2. begin a transaction, and write the files of new and merged segments
3. sign a head over them, let the checker and then a client's eyes judge it, record it in the audit log; commit
4. write the head

Where several servers share a database, segments and head are kept in it by the same transaction. A crash before 4
leaves the old list, complete; the next publication covers what was committed meanwhile. Who revokes commits an event
first and then calls :meth:`Publisher.publish`; it may find that another has published it already.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from crl_server.lists import checkpointing, rules
from crl_server.lists.list_checker import ListChecker, Occasion
from crl_server.lists.public_tree import MAX_ENVELOPE, PublicTree
from crl_server.lists.rules import Span
from crl_server.lists.stamps import Stamp, stamp
from crl_server.operating import tracing
from crl_server.records.audit import Act
from crl_server.revocation import standing
from crl_server.storage.ledger import RECOVERED, RESTORED, Ledger
from crl_server.trust.signing import SigningKey
from verifier.deployment.trust import Trust
from verifier.errors import LoadlockError, Refused
from verifier.files import read_capped
from verifier.formats import dsse
from verifier.formats.revocations import (
    EMPTY_RULES,
    EMPTY_SET,
    MAX_BASE,
    AuditHead,
    Checkpoint,
    Head,
    RulesRef,
    SegmentRef,
    TrustMinimum,
    dump,
    dump_set_file,
    prefix_of,
    sha256_hex,
)
from verifier.formats.text import Digest, Hex, Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, apply_head, open_list
from verifier.signatures.private_keys import sign_envelope

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """Where the last publication stood, as the database remembers it; and whether that was another database, which is
    lost, and its audit log with it.
    """

    epoch: int
    seq: int
    issued: Time | None
    lost: bool = False

    @classmethod
    def read(cls, ledger: Ledger) -> Position:
        """The last publication; zeros before the first."""
        known = ledger.setting("published")
        if known is None:
            return cls(0, 0, None)
        epoch, seq, issued = known.split()
        return cls(int(epoch), int(seq), Time(issued), known == ledger.setting(RECOVERED))

    def write(self, ledger: Ledger) -> None:
        """Remember this publication."""
        ledger.set("published", f"{self.epoch} {self.seq} {self.issued}")


class Publisher:
    """Publishes one deployment's list.

    Args:
        tree: its public files.
        life: how long a head is valid.
    """

    def __init__(self, tree: PublicTree, life: timedelta) -> None:
        self._tree = tree
        self._layout = tree.layout
        self._store = tree.store
        self._life = life
        self._repository = tree.repository
        self._checker = ListChecker(self._file)
        self._last: tuple[Trust, RevocationList] | None = None
        self._signer: tuple[Stamp | None, SigningKey] | None = None

    def publish(self, now: datetime, seq: int = 0) -> RevocationList:
        """Publish what is committed, unless the head on disk is current and covers event ``seq``.

        Args:
            now: the moment (aware, UTC).
            seq: the event that has to be covered.

        Returns:
            The list as it stands on disk now.

        Raises:
            Refused: ``server.lint``, ``server.behind``, ``clock.behind``, ``trust.*``; nothing was published.
            Unreachable: ``io.failed``; the old list is still there.
        """
        with self._tree.publishing():
            trust = self._repository.trust()
            old = self._standing(trust, now)
            if old is not None and seq <= old.head.seq:
                with self._store.read() as ledger:
                    check_not_restored(ledger)
                    committed = max(ledger.last_seq(), trust.checkpoint.through)
                    _check_not_behind(old.head, Position.read(ledger))
                if committed <= old.head.seq and not _due(old.head, trust, now):
                    return old
            with tracing.span("list.publish") as span:
                new = self._publish(old or self._verified_before(), trust, now)
                span.set("loadlock.epoch", new.head.epoch)
                span.set("loadlock.seq", new.head.seq)
                return new

    def read(self, trust: Trust, now: datetime) -> RevocationList:
        """The list on disk, judged as a client judges it, though its time may be over.

        Raises:
            Refused: a ``list.*`` or ``format.*`` code.
            UsageError: ``io.failed`` when there is none.
        """
        data = read_capped(self._layout.head, MAX_ENVELOPE, "revocation head")
        if self._last and (self._last[0].roles, self._last[1].envelope) == (trust.roles, data):
            return self._last[1]
        found = open_list(data, self._file, trust, now)
        self._last = trust, found
        return found

    def _standing(self, trust: Trust, now: datetime) -> RevocationList | None:
        """The list on disk, or None when no client would accept it either, so that a new one is due."""
        try:
            return self.read(trust, now)
        except LoadlockError as error:
            # That the trust has just changed, and the list follows it, is no reason to warn.
            if self._layout.head.exists() and self._verified_before() is None:
                log.warning("the list on disk is not usable and will be replaced: [%s] %s", error.code, error.what)
            return None

    def _verified_before(self) -> RevocationList | None:
        """The list on disk, if it was verified under an earlier trust: a checkpoint or another head key has just come,
        and hosts will hold the next list to this one.
        """
        if self._last is None or not self._layout.head.exists():
            return None
        data = read_capped(self._layout.head, MAX_ENVELOPE, "revocation head")
        return self._last[1] if self._last[1].envelope == data else None

    def head_key(self) -> Digest:
        """The id of the key that signs heads; without it nothing can be published.

        Raises:
            UsageError: ``usage.key``.
        """
        return self._head_signer().public.id

    def _head_signer(self) -> SigningKey:
        """The key, read again when its file is another."""
        path = self._layout.online / "head.pem"
        seen = stamp(path)
        if self._signer is None or self._signer[0] != seen:
            self._signer = seen, SigningKey.read(path)
        return self._signer[1]

    def prepare(self) -> None:
        """Write the files that every list builds on: the empty base and the empty rules."""
        for kind, data in (("bases", EMPTY_SET), ("rules", EMPTY_RULES)):
            self._tree.put(self._layout.list_file(kind, sha256_hex(data)), data)

    # -- one publication -----------------------------------------------------------------------------------------------

    def _publish(self, old: RevocationList | None, trust: Trust, now: datetime) -> RevocationList:
        key = self._head_signer()
        with self._store.write() as ledger:
            before, prepared = Position.read(ledger), checkpointing.prepared_through(ledger)
            check_not_restored(ledger)
            if old is not None:
                _check_not_behind(old.head, before)
            fresh: dict[Path, bytes] = {}
            segments = self._segments(ledger, trust.checkpoint, prepared, fresh)
            named = self._rules_file(ledger, fresh)
            self._tree.write(fresh)
            head = rules.make_head(
                trust.checkpoint,
                issued=rules.issue_time(now, before.issued),
                life=self._life,
                trust=TrustMinimum(root=trust.root_version, targets=trust.targets_version),
                segments=segments,
                rules=named,
                log=ledger.audit_state(),
            )
            payload = dump(head)
            data = dsse.dump_envelope(sign_envelope(dsse.HEAD, payload, ("", key)))
            log_then = None if old is None else ledger.audit_state_at(old.head.audit.count)
            new = self._lint(old, data, trust, before, prepared, log_then, now)
            detail = {"epoch": head.epoch, "seq": head.seq, "payload": sha256_hex(payload)}
            ledger.record(Act("server", "list.publish", f"seq {head.seq}", detail), now)
            ledger.replace_segments(segments)
            Position(head.epoch, head.seq, head.issued).write(ledger)
            self._tree.keep(ledger, {**fresh, self._layout.head: data})
        self._tree.write({self._layout.head: data})
        self._last = trust, new
        return new

    def _rules_file(self, ledger: Ledger, fresh: dict[Path, bytes]) -> RulesRef:
        """The reference to the standing rules; their file goes to ``fresh`` unless it is there already."""
        in_force = standing.in_force(ledger)
        data = dump(in_force)
        ref = RulesRef(sha256=sha256_hex(data), count=len(in_force.rules))
        path = self._layout.list_file("rules", ref.sha256)
        if self._tree.lacks(ledger, path, data):
            fresh[path] = data
        return ref

    def _segments(
        self, ledger: Ledger, checkpoint: Checkpoint, prepared: int, fresh: dict[Path, bytes]
    ) -> tuple[SegmentRef, ...]:
        """The segments over all committed events; the files that are not there yet go to ``fresh``."""
        known = {(ref.first, ref.last): ref for ref in ledger.segments() if ref.first > checkpoint.through}
        spans = [Span(ref.first, ref.last, ref.count) for ref in known.values()]
        done = spans[-1].last if spans else checkpoint.through
        seq = max(ledger.last_seq(), checkpoint.through)
        count = ledger.entry_count(done + 1, seq)
        planned = rules.grow(spans, checkpoint.through, seq, count, prepared)
        return tuple(self._segment(ledger, span, known.get((span.first, span.last)), fresh) for span in planned)

    def _segment(self, ledger: Ledger, span: Span, known: SegmentRef | None, fresh: dict[Path, bytes]) -> SegmentRef:
        """A segment's reference; its file goes to ``fresh`` unless it is there already."""
        if known is not None and self._intact("segments", known.sha256):
            return known
        data = dump_set_file(prefix_of(digest) for digest in ledger.entries(span.first, span.last))
        name = sha256_hex(data)
        fresh[self._layout.list_file("segments", name)] = data
        return SegmentRef(first=span.first, last=span.last, count=len(data) // len(prefix_of(name)), sha256=name)

    def _intact(self, kind: FileKind, name: Hex) -> bool:
        try:
            return sha256_hex(self._file(kind, name)) == name
        except LoadlockError:
            return False  # lost or damaged: the database still knows what belongs there

    def _lint(
        self,
        old: RevocationList | None,
        data: bytes,
        trust: Trust,
        before: Position,
        prepared: int,
        log_then: AuditHead | None,
        now: datetime,
    ) -> RevocationList:
        """Let the checker judge a head, and then judge it as a client would that knows the one before."""
        occasion = Occasion(
            policy=trust.policy,
            checkpoint=trust.checkpoint,
            root=trust.root_version,
            targets=trust.targets_version,
            life=self._life,
            now=now,
            before=None if old is None else old.head,
            prepared=prepared,
            log_lost=before.lost,
            log_then=log_then,
        )
        head = self._checker.check(data, occasion)
        if (head.epoch, head.seq) < (before.epoch, before.seq):
            raise _flaw(f"seq {head.seq}", f"seq {before.seq} or later")
        with _linting():
            return apply_head(old, data, self._file, trust, now)

    def _file(self, kind: str, name: Hex) -> bytes:
        return read_capped(self._layout.list_file(kind, name), MAX_BASE, f"list file ({kind})")


def revoked(current: RevocationList | None, ledger: Ledger, digest: Digest) -> bool:
    """Whether a digest is revoked, published or only committed."""
    return ledger.listed(digest) is not None or (current is not None and current.lists(digest))


def check_not_restored(ledger: Ledger) -> None:
    """Demand that no backup was restored without raising the list above what hosts may have seen.

    Raises:
        Refused: ``server.restored``.
    """
    if ledger.setting(RESTORED):
        raise Refused("server.restored", "a backup was restored", found=f"one of {ledger.setting(RESTORED)}")


def _due(head: Head, trust: Trust, now: datetime) -> bool:
    named = TrustMinimum(root=trust.root_version, targets=trust.targets_version)
    return head.trust != named or rules.half_spent(head.issued.instant, head.expires.instant, now)


def _check_not_behind(head: Head, position: Position) -> None:
    """A head is recorded before it is written: one on disk that the database does not know of was signed over it."""
    known = (position.epoch, position.seq, position.issued or "")
    if (head.epoch, head.seq, head.issued) > known:
        raise Refused(
            "server.behind",
            "the list on disk is ahead of the database",
            found=f"the database has published epoch {position.epoch}, seq {position.seq} at {position.issued}",
            expected=f"epoch {head.epoch}, seq {head.seq} at {head.issued}, or later",
        )


@contextmanager
def _linting() -> Iterator[None]:
    try:
        yield
    except LoadlockError as error:
        raise Refused(
            "server.lint",
            "the list about to be published would not be accepted",
            found=f"[{error.code}] {error.what}: {error.found}",
            expected=error.expected,
        ) from error


def _flaw(found: str, expected: str) -> Refused:
    return Refused("server.lint", "the list about to be published is wrong", found=found, expected=expected)
