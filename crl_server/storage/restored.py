"""A note in the directory that it came from a backup, for whichever database it is opened with.

A dump of PostgreSQL comes back by other means than the directory, before it or after it, and does not know what it is.
So who restores leaves a note in the directory. The first who opens the deployment tells the database, which from then
on publishes nothing until ``loadlock recover --from`` has raised the list; after the commit the note goes. Nobody is
signed in any more: who has signed out since the backup must not be in again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta
from sqlmodel import delete

from crl_server.layout import Layout
from crl_server.lists.publishing import Position
from crl_server.records.audit import Act
from crl_server.storage.ledger import RESTORED
from crl_server.storage.store import Store
from crl_server.storage.tables import ConsoleSession
from verifier.errors import Unreachable
from verifier.files import read_capped, write_atomic
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Time

MAX_NOTE = 4096
"""Size cap of the note in bytes."""


class _Note(Document, frozen=True, kw_only=True):
    v: Literal[1]
    at: Time
    by: Annotated[str, Meta(min_length=1, max_length=200)]


def leave_note(layout: Layout, actor: str, now: datetime) -> None:
    """Note that a directory was restored.

    Args:
        layout: the directory.
        actor: who restored it, for the audit log.
        now: the moment (aware, UTC).

    Raises:
        Unreachable: ``io.failed``.
    """
    write_atomic(layout.restored, dumps(_Note(v=1, at=Time.of(now), by=actor)), mode=0o600)


def heed_note(layout: Layout, store: Store) -> None:
    """Tell the database, where there is a note.

    Raises:
        FormatError: any ``format.*`` code: the note is malformed.
        UsageError: ``io.failed``.
        Unreachable: ``io.failed``.
    """
    if not layout.restored.exists():
        return
    note = parse(read_capped(layout.restored, MAX_NOTE, "note"), _Note, limit=MAX_NOTE, what=layout.restored.name)
    with store.write() as ledger:
        position = Position.read(ledger)
        ledger.set(RESTORED, note.at)
        ledger.session.exec(delete(ConsoleSession))
        act = Act(note.by, "deployment.restore", f"seq {position.seq}", {"epoch": position.epoch})
        ledger.record(act, note.at.instant)
    try:
        layout.restored.unlink()
    except OSError as error:
        raise Unreachable("io.failed", "the note cannot be removed", found=error.strerror or str(error)) from error
