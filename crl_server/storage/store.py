"""The database, behind three doors: :meth:`Store.read`, :meth:`Store.write` and :meth:`Store.claim`.

Whatever engine stands behind them, a read sees one moment; writes come one after another, and what one has read cannot
change before it commits; what is committed is durable. A claim is about rows that wait for somebody's work and that no
write reads: it locks those it takes, passes over those that others have locked, and keeps no writer waiting where the
engine can do without. The engines are modules of their own
(:mod:`crl_server.storage.sqlite`, :mod:`crl_server.storage.postgresql`); :mod:`crl_server.storage.databases` chooses.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlmodel import Session, SQLModel, delete, inspect

from crl_server.storage.ledger import Ledger
from verifier.errors import Unreachable

SCHEMA = "0012"
"""The newest migration."""
CONNECTIONS = 8
"""How many connections a process keeps."""
PATIENCE = 20.0
"""How long, in seconds, to wait for another process's transaction."""


class Backend(ABC):
    """One engine. Transactions are begun by its own words, since drivers begin them late, or otherwise than is needed.

    Attributes:
        engine: SQLAlchemy's.
        begin_read: begins a transaction that sees one moment.
        begin_write: begins a transaction that excludes all other writers.
        begin_claim: begins a transaction that excludes others from the rows that it takes, and perhaps all writers.
        begin_upgrade: excludes all other writers, where there may be no tables yet.
        advice: what to do when the database does not answer, where it is not the error's own.
    """

    engine: Engine
    begin_read: ClassVar[str]
    begin_write: ClassVar[str]
    begin_claim: ClassVar[str]
    begin_upgrade: ClassVar[str]
    advice: ClassVar[str] = ""

    @abstractmethod
    def failure(self, cause: BaseException) -> str | None:
        """What the driver says; None for an error that is not the driver's."""

    @abstractmethod
    def check(self, connection: Connection) -> None:
        """Demand of the database what the doors promise.

        Raises:
            UsageError: ``usage.configuration``.
        """

    def held(self) -> Connection | None:
        """The connection that this thread has to use, because it publishes; None for any.

        Raises:
            Unreachable: ``io.failed``: it was lost, and with it the right to publish.
        """
        return None

    def announce(self, connection: Connection) -> None:  # noqa: B027 - there may be nobody to tell
        """Tell those who listen, once the transaction of this connection is committed."""

    @contextmanager
    def listening(self) -> Iterator[Callable[[float], None]]:
        """Listen to what is announced from now on.

        Yields:
            Waits for the next announcement, at most so many seconds.
        """
        yield time.sleep

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Be the one publisher among everything that shares the database.

        Raises:
            Unreachable: ``io.failed`` when another one does not come to an end.
        """
        yield


class Store:
    """The database of one deployment.

    Args:
        backend: the engine behind it.

    Attributes:
        replicated: whether several servers, each with files of its own, may share it.
    """

    def __init__(self, backend: Backend, *, replicated: bool = False) -> None:
        self._backend = backend
        self.replicated = replicated

    def upgrade(self) -> None:
        """Bring the schema to the newest version.

        Raises:
            UsageError: ``usage.configuration`` when a newer release has written the database, or it does not keep what
                it is given.
            Unreachable: ``io.failed``.
        """
        with self._session(self._backend.begin_read) as session:
            self._backend.check(session.connection())
            if _schema(session) == SCHEMA:
                return
        from crl_server.migrations import upgrade  # takes long to import, and is hardly ever needed

        with self._session(self._backend.begin_upgrade) as session:
            upgrade(session.connection())
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Ledger]:
        """A consistent view of the database.

        Raises:
            Unreachable: ``io.failed``.
        """
        with self._session(self._backend.begin_read) as session:
            yield Ledger(session)

    @contextmanager
    def write(self) -> Iterator[Ledger]:
        """A transaction: all of it is durable when the block has ended, and none when it raised.

        Raises:
            Unreachable: ``io.failed``; nothing was written, unless the connection was lost while it was committed.
        """
        with self._transaction(self._backend.begin_write) as ledger:
            yield ledger

    @contextmanager
    def claim(self) -> Iterator[Ledger]:
        """A transaction about rows of a queue, which are taken with ``with_for_update(skip_locked=True)``.

        Raises:
            Unreachable: ``io.failed``; nothing was written, unless the connection was lost while it was committed.
        """
        with self._transaction(self._backend.begin_claim) as ledger:
            yield ledger

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Be the one publisher among everything that shares the database; the doors of this thread lead through it.

        Raises:
            Unreachable: ``io.failed`` when another one does not come to an end.
        """
        with self._failing(), self._backend.publishing():
            yield

    def announce(self, ledger: Ledger) -> None:
        """Tell the other servers that there is something new, once this transaction is committed."""
        self._backend.announce(ledger.session.connection())

    @contextmanager
    def listening(self) -> Iterator[Callable[[float], None]]:
        """Listen to what other servers announce from now on.

        Yields:
            Waits for the next announcement, at most so many seconds.

        Raises:
            Unreachable: ``io.failed``: the connection was lost, and announcements with it.
        """
        with self._failing(), self._backend.listening() as wait:
            yield wait

    def empty(self) -> None:
        """Take everything out again, but for the tables themselves: making a deployment has failed.

        Raises:
            Unreachable: ``io.failed``.
        """
        with self.write() as ledger:
            for table in reversed(SQLModel.metadata.sorted_tables):
                ledger.session.exec(delete(table))

    def close(self) -> None:
        """Close all connections; SQLite's last one folds the write-ahead log into the file."""
        self._backend.engine.dispose()

    @contextmanager
    def _session(self, begin: str) -> Iterator[Session]:
        with self._failing(), Session(self._backend.held() or self._backend.engine, expire_on_commit=False) as session:
            session.connection().exec_driver_sql(begin)
            yield session

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Ledger]:
        with self._session(begin) as session:
            yield Ledger(session)
            session.commit()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except NoneFree as error:
            raise Unreachable(
                "io.failed", "the database cannot be used now", found=f"all {CONNECTIONS} connections are in use"
            ) from error
        except Exception as error:
            found = self._backend.failure(getattr(error, "orig", error))  # SQLAlchemy wraps the driver's errors
            if found is None:
                raise
            raise Unreachable(
                "io.failed", "the database cannot be used", found=found, todo=self._backend.advice
            ) from error


def _schema(session: Session) -> str | None:
    """The migration that the database is at, or None when it is new."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    version: str | None = session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version
