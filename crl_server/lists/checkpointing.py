"""Checkpoints on the service's side: preparing one, and putting it in force once both offline keys have signed.

Putting in force, in an order that a crash cannot spoil:

1. in one transaction: withdraw what the checkpoint takes back, put what was revoked again meanwhile back on the list,
   and keep the signed metadata
2. write the trust repository's files; the timestamp comes last
3. publish a head of the new epoch

A crash after 1 is mended at the next start by :meth:`Checkpoints.resume`.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlmodel import col, delete, select

from crl_server.lists.checkpoints import Proposal, propose
from crl_server.lists.dossier import Dossier
from crl_server.lists.public_tree import PublicTree
from crl_server.records.audit import Act
from crl_server.revocation import reinstating, standing
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import CheckpointRow
from crl_server.trust.signing import SigningKey
from verifier.errors import Refused
from verifier.formats.revocations import Rules, dump, sha256_hex
from verifier.formats.text import Digest
from verifier.revocation.revocation_list import RevocationList


class Prepared(NamedTuple):
    """A checkpoint that was laid out to be signed: where, and what it takes back."""

    directory: Path
    epoch: int
    through: int
    entries: int
    taken_back: tuple[Digest, ...]
    requests: tuple[int, ...]


# Each publication asks this: columns cost a quarter of what a row's object does.
_PREPARED = (
    select(CheckpointRow.through)
    .where(col(CheckpointRow.signed).is_(None))
    .order_by(col(CheckpointRow.epoch).desc())
    .limit(1)
)


def prepared_through(ledger: Ledger) -> int:
    """The last event of the checkpoint that awaits its signatures; 0 when there is none."""
    found: int | None = ledger.session.connection().execute(_PREPARED).scalar()
    return found or 0


class Checkpoints:
    """Prepares one deployment's checkpoints and puts them in force.

    Args:
        tree: its public files.
    """

    def __init__(self, tree: PublicTree) -> None:
        self._tree = tree
        self._layout = tree.layout
        self._store = tree.store
        self._repository = tree.repository

    def prepare(
        self, current: RevocationList, directory: Path, actor: str, now: datetime, *, cut: bool = False
    ) -> Prepared:
        """Lay out the checkpoint that follows ``current``, the list as it has just been published.

        Args:
            current: the published list.
            directory: where; it must not exist.
            actor: who prepares it.
            now: the moment (aware, UTC).
            cut: cut off what hosts know from heads alone: after the theft of a head key.

        Raises:
            UsageError: ``usage.exists``.
            Refused: ``checkpoint.outdated`` when the list was published anew meanwhile; ``trust.*``.
            Unreachable: ``io.failed``.
        """
        with self._tree.publishing():
            if self._layout.head.read_bytes() != current.envelope:
                raise _outdated("the list was published anew meanwhile")
            trust = self._repository.trust()
            with self._store.write() as ledger:
                chosen, taken_back, after = _outlook(ledger, current)
                proposal = propose(current, taken_back, after, ledger.audit_state(), cut=cut)
                document = dump(proposal.checkpoint)
                metadata = self._repository.unsigned_checkpoints(document, now)
                self._write_files(ledger, proposal)
                log = list(ledger.audit_since(trust.checkpoint.audit))
                self._remember(ledger, proposal, document, chosen, taken_back)
                detail = {"epoch": proposal.checkpoint.epoch, "through": proposal.checkpoint.through,
                          "sha256": sha256_hex(document), "taken_back": len(taken_back), "cut": cut}  # fmt: skip
                ledger.record(Act(actor, "checkpoint.prepare", f"epoch {proposal.checkpoint.epoch}", detail), now)
                dossier = Dossier(directory)
                dossier.create(
                    self._layout, current, [("bases", proposal.checkpoint.root), ("rules", proposal.checkpoint.rules)]
                )
                dossier.write(checkpoint=document, metadata=metadata, log=log)
        found = proposal.checkpoint
        return Prepared(directory, found.epoch, found.through, found.count, tuple(taken_back), tuple(chosen))

    def publish(self, dossier: Dossier, actor: str, now: datetime) -> int:
        """Put a signed checkpoint in force, but for the head that follows; returns its epoch.

        Raises:
            Refused: ``checkpoint.outdated``, ``checkpoint.signatures``, ``trust.*``; nothing has changed.
            UsageError: ``usage.key``.
            Unreachable: ``io.failed``.
        """
        document, metadata = dossier.checkpoint, dossier.metadata
        with self._tree.publishing():
            online = SigningKey.read(self._layout.online / "timestamp.pem")
            epoch = self._repository.trust().checkpoint.epoch + 1
            self._repository.check_checkpoints(document, metadata, now)
            with self._store.write() as ledger:
                row = ledger.session.get(CheckpointRow, epoch)
                if row is None or row.document != document:
                    raise _outdated("it is not the one that was prepared last")
                self._carry_out(ledger, row, now)
                row.signed = metadata
                ledger.session.add(row)
                detail = {"epoch": epoch, "sha256": sha256_hex(document), "metadata": sha256_hex(metadata)}
                ledger.record(Act(actor, "checkpoint.publish", f"epoch {epoch}", detail), now)
            self._repository.publish_checkpoint(document, metadata, online, now)
        return epoch

    def resume(self, now: datetime) -> None:
        """Write what a crash has left unwritten.

        Raises:
            Refused: ``trust.*``.
            UsageError: ``usage.key``.
            Unreachable: ``io.failed``.
        """
        with self._tree.publishing():
            epoch = self._repository.trust().checkpoint.epoch + 1
            with self._store.read() as ledger:
                row = ledger.session.get(CheckpointRow, epoch)
            if row is not None and row.signed is not None:
                online = SigningKey.read(self._layout.online / "timestamp.pem")
                self._repository.publish_checkpoint(row.document, row.signed, online, now)

    def _carry_out(self, ledger: Ledger, row: CheckpointRow, now: datetime) -> None:
        numbers = frozenset(json.loads(row.requests))
        chosen = [request for request in reinstating.approved(ledger) if request.id in numbers]
        reinstating.carry_out(ledger, chosen, row.epoch)
        taken_back = frozenset(Digest(digest) for digest in json.loads(row.taken_back))
        reinstating.take_off(ledger, taken_back, row.epoch)
        again = sorted(digest for digest in taken_back if ledger.reasons(digest))
        if again:
            ledger.add_event(again, now)

    def _write_files(self, ledger: Ledger, proposal: Proposal) -> None:
        files = {
            self._layout.list_file("bases", proposal.checkpoint.root): bytes(proposal.base.data),
            self._layout.list_file("rules", proposal.checkpoint.rules): proposal.rules,
        }
        self._tree.keep(ledger, files)
        self._tree.write(files)

    @staticmethod
    def _remember(
        ledger: Ledger, proposal: Proposal, document: bytes, chosen: list[int], taken_back: list[Digest]
    ) -> None:
        epoch = proposal.checkpoint.epoch
        ledger.session.exec(delete(CheckpointRow).where(col(CheckpointRow.epoch) == epoch))
        ledger.session.add(
            CheckpointRow(
                epoch=epoch, through=proposal.checkpoint.through, document=document, requests=json.dumps(chosen),
                taken_back=json.dumps(taken_back).encode(),
            )
        )  # fmt: skip


def _outlook(ledger: Ledger, current: RevocationList) -> tuple[list[int], list[Digest], Rules]:
    """What carrying out all that is approved would lead to: the requests, the digests freed, the rules left of those
    that are published. Signers are shown the audit log as the same transaction sees it: every approval stands there.
    """
    with ledger.session.begin_nested() as trial:
        chosen = reinstating.approved(ledger)
        numbers = [request.id for request in chosen if request.id is not None]
        freed = reinstating.carry_out(ledger, chosen, current.checkpoint.epoch + 1)
        left = standing.in_force(ledger)
        trial.rollback()
    published = {rule.id for rule in current.rules.rules}
    return numbers, sorted(freed), Rules(v=1, rules=tuple(rule for rule in left.rules if rule.id in published))


def _outdated(found: str) -> Refused:
    return Refused("checkpoint.outdated", "this checkpoint cannot be put in force", found=found)
