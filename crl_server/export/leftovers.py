"""What lies at a place although nothing refers to it any more: since when, so that it goes when its time is up."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime, timedelta

from sqlmodel import col, delete, select

from crl_server.storage.store import Store
from crl_server.storage.tables import ExportLeftover
from verifier.formats.text import Time


def due(store: Store, export: str, unused: Set[str], now: datetime, keep: timedelta) -> list[str]:
    """Take note of what is unused, and say what has been for as long as it is to be kept.

    Args:
        store: the database.
        export: the export's name.
        unused: paths that nothing refers to now.
        now: the moment (aware, UTC).
        keep: how long they stay.

    Raises:
        Unreachable: ``io.failed``.
    """
    with store.read() as ledger:
        rows = ledger.session.exec(select(ExportLeftover).where(ExportLeftover.export == export)).all()
    known = {row.path: Time(row.since).instant for row in rows}
    fresh, gone = unused - known.keys(), known.keys() - unused
    if fresh or gone:
        with store.write() as ledger:
            ledger.session.add_all(ExportLeftover(export=export, path=path, since=Time.of(now)) for path in fresh)
        forget(store, export, sorted(gone))
    return sorted(path for path in unused if now - known.get(path, now) >= keep)


def forget(store: Store, export: str, paths: list[str]) -> None:
    """Forget paths that are gone, or in use again.

    Raises:
        Unreachable: ``io.failed``.
    """
    if not paths:
        return
    with store.write() as ledger:
        mine = delete(ExportLeftover).where(col(ExportLeftover.export) == export)
        for path in paths:
            ledger.session.exec(mine.where(col(ExportLeftover.path) == path))
