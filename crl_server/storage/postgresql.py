"""PostgreSQL: for several servers, of which any may die.

A write is a serialisable transaction that begins by locking one table, so that writers wait for each other instead of
being turned back. The lock comes before the transaction's first look, which so sees all that was committed before
(PostgreSQL's manual, "Explicit Locking"). One publisher at a time is an advisory lock of a connection: everything that
the publisher reads and writes goes through that very connection, so whoever has lost the lock cannot write either. A
claim stands beside all that: it locks rows, not the table, and sees each row as it is when it is locked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, create_engine

from crl_server.storage import store
from crl_server.storage.store import CONNECTIONS, Backend, Store
from verifier.errors import Unreachable, UsageError

PUBLISHER: Final = 0x6C6F61646C6F636B
"""The advisory lock of the one publisher: "loadlock" in ASCII."""
SCHEMA_LOCK: Final = PUBLISHER + 1
"""The advisory lock of who brings the schema to the newest version."""
CHANNEL: Final = "loadlock"
"""Where servers tell each other that something was published."""
CONNECT_TIMEOUT: Final = 10
"""How long, in seconds, to wait for a connection."""
DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_TIMEOUT,
    "application_name": "loadlock",
    # Of several hosts the one that takes writes: a standby tells what was true a while ago, of tokens too.
    "target_session_attrs": "read-write",
    # A machine that vanishes without a word is noticed within 25 seconds. Left to itself the system tries for a quarter
    # of an hour to send, and waits two hours to hear: no revocation would be taken meanwhile.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""What an address may say otherwise, in the words of libpq."""
COLLATIONS: Final = frozenset({"C", "C.UTF-8", "C.utf8", "POSIX"})
"""The locales in which text is ordered by its bytes, for ever: an update of any other one spoils indexes."""
ICU: Final = "i"
"""What PostgreSQL calls the provider of other orders, in its column ``datlocprovider`` (from version 15)."""

# The server, too, lets go of what a machine held that has vanished without a word.
_SESSION: Final = (
    "-c synchronous_commit=on -c idle_in_transaction_session_timeout=60s -c tcp_keepalives_idle=10 "
    "-c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
_SET: Final = ("on", "1min")
"""What the first two of these read like in a session that has them."""


class Postgresql(Backend):
    """PostgreSQL 13 or newer.

    Args:
        url: where, as libpq takes it (``postgresql://…``); secret, since it may hold a password.

    Raises:
        UsageError: ``usage.configuration``.
    """

    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    begin_write = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE setting IN SHARE ROW EXCLUSIVE MODE"
    begin_claim = "BEGIN ISOLATION LEVEL READ COMMITTED"
    begin_upgrade = f"BEGIN; SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"
    advice = "See whether PostgreSQL answers at the address in LOADLOCK_DATABASE_URL, else in server/database.toml."

    def __init__(self, url: str) -> None:
        self._parts = _parts(url)
        self._mine = threading.local()
        self.engine = create_engine(
            "postgresql+psycopg://", creator=self.connect, pool_size=CONNECTIONS, max_overflow=0, pool_pre_ping=True,
            use_native_hstore=False, pool_timeout=store.PATIENCE,
        )  # fmt: skip

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of its own, on which every statement stands alone until a transaction is begun.

        Raises:
            psycopg.Error: there is none to be had.
        """
        options = f"{self._parts.get('options') or ''} {_SESSION} -c lock_timeout={int(store.PATIENCE * 1000)}"
        own = {"options": options.strip(), "client_encoding": "UTF8"}
        address = psycopg.conninfo.make_conninfo("", **DEFAULTS | self._parts | own)
        return psycopg.connect(address, autocommit=True)

    def failure(self, cause: BaseException) -> str | None:
        """What the server or the driver says in one line, without the values that it was about."""
        if not isinstance(cause, psycopg.Error):
            return None
        return ascii(cause.diag.message_primary or (str(cause).splitlines() or [type(cause).__name__])[0])[1:-1][:300]

    def check(self, connection: Connection) -> None:
        """Demand of the database what the doors promise.

        Raises:
            UsageError: ``usage.configuration``.
        """
        _check_session(connection)
        query = (
            "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding'),"
            " datcollate, to_jsonb(d) ->> 'datlocprovider' FROM pg_database AS d WHERE datname = current_database()"
        )
        found = tuple(connection.exec_driver_sql(query).one())
        if found[:3] != ("on", "on", "UTF8") or found[3] not in COLLATIONS or found[4] == ICU:
            names = ("fsync", "full_page_writes", "encoding", "collation", "its provider")
            raise UsageError(
                "usage.configuration", "the database would not keep what it is given as it is",
                found=", ".join(f"{name} {value}" for name, value in zip(names, found, strict=True)),
                expected="fsync and full_page_writes on, encoding UTF8, collation C",
                todo="Make it with: createdb --template=template0 --encoding=UTF8 --locale=C NAME",
            )  # fmt: skip

    def announce(self, connection: Connection) -> None:
        """Tell those who listen, once the transaction of this connection is committed."""
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")

    @contextmanager
    def listening(self) -> Iterator[Callable[[float], None]]:
        """Listen to what is announced from now on, on a connection of its own."""
        with self.connect() as connection:
            connection.execute(f"LISTEN {CHANNEL}".encode())

            def wait(seconds: float) -> None:
                for _ in connection.notifies(timeout=seconds, stop_after=1):
                    pass

            yield wait

    def held(self) -> Connection | None:
        """The publisher's connection, in its thread.

        Raises:
            Unreachable: ``io.failed``: it was lost, and with it the right to publish.
        """
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            return None
        _check_not_lost(connection)
        return None if connection.in_transaction() else connection

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the publisher's lock, and lead this thread through the connection that holds it.

        Raises:
            psycopg.Error: the lock is not to be had in time.
            Unreachable: ``io.failed``: the connection was lost, and with it the right to publish.
        """
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({PUBLISHER})")
            connection.commit()  # of nothing: SQLAlchemy takes any statement for a transaction's begin
            self._mine.connection = connection
            try:
                yield
            except BaseException:
                connection.invalidate()  # closed, it holds no lock, in whatever state it was
                raise
            finally:
                self._mine.connection = None
            _check_not_lost(connection)
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({PUBLISHER})")


def postgresql_store(url: str) -> Store:
    """The store in a database of PostgreSQL.

    Args:
        url: where, as libpq takes it.

    Raises:
        UsageError: ``usage.configuration``.
    """
    return Store(Postgresql(url), replicated=True)


def _check_session(connection: Connection) -> None:
    """Demand that a session has what was asked for it. A pooler that is told to ignore that lends connections from one
    transaction to the next, and with them whatever locks they hold.
    """
    query = "SELECT current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout')"
    found = tuple(connection.exec_driver_sql(query).one())
    if found != _SET:
        raise UsageError(
            "usage.configuration", "the database's sessions are not as this server asks for them",
            found=f"synchronous_commit {found[0]}, idle_in_transaction_session_timeout {found[1]}",
            expected=f"{_SET[0]}, {_SET[1]}", todo="Connect to PostgreSQL itself, not to a pooler.",
        )  # fmt: skip


def _check_not_lost(connection: Connection) -> None:
    if connection.invalidated:  # SQLAlchemy would quietly take another one, which holds no lock
        raise Unreachable("io.failed", "the connection of the publisher was lost")


def _parts(url: str) -> dict[str, Any]:
    """The parts of an address; what is wrong with it is not told, since its password would be told as well.

    Raises:
        UsageError: ``usage.configuration``.
    """
    try:
        return psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise UsageError(
            "usage.configuration", "the address of the database is malformed",
            expected="postgresql://USER@HOST/NAME, with special characters of a password percent-encoded",
        ) from None  # fmt: skip
