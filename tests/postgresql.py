"""A real PostgreSQL: started at its first use, shared by all workers of a test run, ended with the run.

This module is imported by every run: what takes long to import is imported where it is used.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

HOME = "LOADLOCK_TEST_POSTGRESQL"
"""Set by the run's first process: the directory of the server that its workers share."""
PROGRAMS = Path("/usr/lib/postgresql")
"""Where Debian has them, by version."""
SUPERUSER = "loadlock"
TEMPLATE = "loadlock_template"
OPTIONS = (
    "-c listen_addresses= -c fsync=on -c synchronous_commit=on -c shared_buffers=32MB -c max_connections=100 "
    "-c max_wal_size=512MB -c autovacuum=off -c log_min_messages=warning"
)


class Server:
    """One server with its data, on a socket in its directory.

    Args:
        directory: its own; made for it, and readable by an unprivileged user.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "data"

    @property
    def running(self) -> bool:
        return (self.directory / "ready").exists()

    def create(self) -> None:
        """Lay out its data, and start it."""
        self.directory.chmod(0o755)
        user = _user()
        if user is not None:
            shutil.chown(self.directory, user, pwd.getpwnam(user).pw_gid)
        initdb = [_program("initdb"), "-D", str(self._data), "-U", SUPERUSER, "--auth=trust", "--no-sync"]
        done = subprocess.run([*initdb, "--no-locale", "--encoding=UTF8"], capture_output=True, cwd="/", user=user)
        assert done.returncode == 0, done.stderr
        self.start()

    def start(self) -> None:
        """Start it on the data that it has; returns once it takes connections."""
        self._control("start", "-l", str(self.directory / "log"), "-o", f"-k {self.directory} {OPTIONS}")
        (self.directory / "ready").touch()

    def stop(self, how: str = "fast") -> None:
        """End it: ``fast`` ends it in order, ``immediate`` as a crash does."""
        (self.directory / "ready").unlink()
        self._control("stop", "-m", how)

    def destroy(self) -> None:
        """End it without ceremony, and forget its data."""
        if self.running:
            self.stop("immediate")
        shutil.rmtree(self.directory)

    def _control(self, *arguments: str) -> None:
        # Not captured: what it starts would hold the pipe.
        command = [_program("pg_ctl"), "-D", str(self._data), "-w", "-s", *arguments]
        done = subprocess.run(command, cwd="/", user=_user(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == 0, (self.directory / "log").read_text()

    def url(self, name: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://{SUPERUSER}@/{name}?host={self.directory}"

    def run(self, statement: str) -> None:
        """Run one statement as its superuser."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def new_database(self) -> str:
        """A database with the newest schema and nothing in it; returns its address."""
        name = f"test_{uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self.url(name)

    def clean(self, url: str) -> None:
        """Make a database as good as new, which is quicker than another one; unlike TRUNCATE it makes no files."""
        import psycopg

        from crl_server.storage.store import SCHEMA

        with psycopg.connect(url) as connection:
            connection.execute("SET session_replication_role = replica")  # leaves foreign keys alone
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (table,) in tables:
                if table != "alembic_version":
                    connection.execute(f'DELETE FROM "{table}"'.encode())
            connection.execute("UPDATE alembic_version SET version_num = %s", [SCHEMA])
            connection.execute("SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'")

    def tool(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's own programs as its superuser."""
        environment = {**os.environ, "PGHOST": str(self.directory), "PGUSER": SUPERUSER}
        done = subprocess.run([_program(program), *arguments], capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")

    def make_template(self) -> None:
        """Make the database that others are copies of."""
        self.run(f"CREATE DATABASE {TEMPLATE}")
        from crl_server.storage.postgresql import postgresql_store

        store = postgresql_store(self.url(TEMPLATE))
        store.upgrade()
        store.close()


def shared() -> Server:
    """The one server of this run."""
    directory = Path(os.environ[HOME])
    server = Server(directory)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not server.running:
            server.create()
            server.make_template()
    return server


@contextmanager
def own() -> Iterator[Server]:
    """A server of one's own, for those who stop it."""
    server = Server(Path(tempfile.mkdtemp(prefix="loadlock-pg-")))
    try:
        server.create()
        server.make_template()
        yield server
    finally:
        server.destroy()


def prepare_run() -> None:
    """Called in the run's first process before there are workers: where the server will be."""
    os.environ[HOME] = tempfile.mkdtemp(prefix="loadlock-pg-")  # a short path: a socket's has to be


def end_run() -> None:
    """Called in the run's first process when all is done."""
    Server(Path(os.environ.pop(HOME))).destroy()


def name_of(url: str) -> str:
    """The name of the database in its address."""
    return urlsplit(url).path.removeprefix("/")


def _user() -> str | None:
    """Who runs it: PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def _program(name: str) -> str:
    found = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    path = found[-1] if found else shutil.which(name)
    assert path, f"{name} is not installed (on Debian: apt-get install postgresql)"
    return str(path)
