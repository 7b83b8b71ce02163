"""The embedded database: one file, durable on commit, one writer at a time.

SQLite in WAL mode with ``synchronous=FULL``: a committed transaction survives a crash of process and machine. A write
begins with ``BEGIN IMMEDIATE``, so that what it reads cannot change before it commits.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, QueuePool, create_engine

from crl_server.storage import store
from crl_server.storage.store import CONNECTIONS, Backend, Store


class Sqlite(Backend):
    """SQLite.

    Args:
        path: the database file; it is made when it does not exist.
    """

    begin_read = "BEGIN"
    begin_write = "BEGIN IMMEDIATE"
    begin_claim = "BEGIN IMMEDIATE"
    begin_upgrade = "BEGIN IMMEDIATE"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=QueuePool, pool_size=CONNECTIONS, max_overflow=0,
            pool_timeout=store.PATIENCE,
        )  # fmt: skip

    def failure(self, cause: BaseException) -> str | None:
        """What the driver says; None for an error that is not the driver's."""
        return str(cause) if isinstance(cause, sqlite3.Error) else None

    def check(self, connection: Connection) -> None:
        """Every connection is made as it has to be."""

    def _connect(self) -> sqlite3.Connection:
        # Transactions are begun by hand; the driver's own habits would begin them late and deferred.
        connection = sqlite3.connect(self._path, timeout=store.PATIENCE, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        return connection


def sqlite_store(path: Path) -> Store:
    """The store in one file.

    Args:
        path: the file; it is made when it does not exist.
    """
    return Store(Sqlite(path))
