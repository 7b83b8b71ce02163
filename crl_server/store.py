"""The embedded database: one file, durable on commit, one writer at a time.

SQLite in WAL mode with ``synchronous=FULL``: a committed transaction survives a crash of process and machine. A write
begins with ``BEGIN IMMEDIATE``, so that what it reads cannot change before it commits. PostgreSQL will be a second
engine behind the same two doors, :meth:`Store.read` and :meth:`Store.write`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlmodel import QueuePool, Session, create_engine, inspect

from crl_server.ledger import Ledger
from verifier.errors import Unreachable

BUSY_TIMEOUT = 20.0
"""How long, in seconds, to wait for another process's transaction."""
SCHEMA = "0005"
"""The newest migration."""
CONNECTIONS = 8
"""How many connections the pool keeps."""


class Store:
    """The database of one deployment.

    Args:
        path: the database file; it is made when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=QueuePool, pool_size=CONNECTIONS, max_overflow=0
        )

    def upgrade(self) -> None:
        """Bring the schema to the newest version.

        Raises:
            UsageError: ``usage.configuration`` when a newer release has written the database.
            Unreachable: ``io.failed``.
        """
        with self._session("BEGIN") as session:
            if _schema(session) == SCHEMA:
                return
        from crl_server.migrations import upgrade  # takes long to import, and is hardly ever needed

        with self._session("BEGIN IMMEDIATE") as session:
            upgrade(session.connection())
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Ledger]:
        """A consistent view of the database.

        Raises:
            Unreachable: ``io.failed``.
        """
        with self._session("BEGIN") as session:
            yield Ledger(session)

    @contextmanager
    def write(self) -> Iterator[Ledger]:
        """A transaction: all of it is durable when the block has ended, and none when it raised.

        Raises:
            Unreachable: ``io.failed``; nothing was written.
        """
        with self._session("BEGIN IMMEDIATE") as session:
            yield Ledger(session)
            session.commit()

    def close(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the file."""
        self._engine.dispose()

    @contextmanager
    def _session(self, begin: str) -> Iterator[Session]:
        try:
            with Session(self._engine, expire_on_commit=False) as session:
                session.connection().exec_driver_sql(begin)
                yield session
        except Exception as error:
            cause = getattr(error, "orig", error)  # SQLAlchemy wraps the driver's errors
            if not isinstance(cause, sqlite3.Error):
                raise
            raise Unreachable("io.failed", "the database cannot be used", found=str(cause)) from error

    def _connect(self) -> sqlite3.Connection:
        # Transactions are begun by hand above; the driver's own habits would begin them late and deferred.
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        return connection


def _schema(session: Session) -> str | None:
    """The migration that the database is at, or None when it is new."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    version: str | None = session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version
