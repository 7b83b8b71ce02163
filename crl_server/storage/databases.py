"""Which database a deployment has: the embedded one, or the one that ``server/database.toml`` names.

    url = "postgresql://loadlock@db.example/loadlock"

The environment variable ``LOADLOCK_DATABASE_URL`` comes before the file. Neither is ever printed: there may be a
password in it.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

from msgspec import Meta

from crl_server.layout import Layout
from crl_server.storage.sqlite import sqlite_store
from crl_server.storage.store import Store
from crl_server.toml_file import read_toml
from verifier.errors import UsageError
from verifier.files import write_atomic
from verifier.formats.strict_json import Document, dumps

DATABASE_URL: Final = "LOADLOCK_DATABASE_URL"
"""The environment variable that names the database."""
SCHEMES: Final = ("postgresql://", "postgres://")


class _Database(Document, frozen=True, kw_only=True):
    url: Annotated[str, Meta(max_length=4000)] = ""


def open_store(layout: Layout) -> Store:
    """The store of a deployment; an embedded one has to exist.

    Raises:
        UsageError: ``usage.deployment`` when there is none; ``usage.configuration``, ``usage.extra``, ``io.failed``.
        FormatError: any ``format.*`` code.
    """
    url = database_url(layout)
    if url:
        return store_at(url)
    if not layout.database.is_file():
        raise UsageError("usage.deployment", "the deployment has no database", found=str(layout.database))
    return sqlite_store(layout.database)


def new_store(layout: Layout, url: str) -> Store:
    """The store of a deployment that is being made, and a note of where it is.

    Args:
        layout: the deployment's directory.
        url: the address of a database; empty for an embedded one.

    Raises:
        UsageError: ``usage.configuration``, ``usage.extra``.
        Unreachable: ``io.failed``.
    """
    if not url:
        return sqlite_store(layout.database)
    # JSON's strings of ASCII are TOML's as well.
    write_atomic(layout.database_address, b"url = " + dumps(url) + b"\n", mode=0o600)
    return store_at(url)


def store_at(url: str) -> Store:
    """The store at an address.

    Raises:
        UsageError: ``usage.configuration`` for an address of another kind; ``usage.extra``.
    """
    if not url.startswith(SCHEMES):
        raise UsageError(
            "usage.configuration", "the address of the database is of no kind that is known", expected=SCHEMES[0] + "…"
        )
    try:
        from crl_server.storage.postgresql import postgresql_store
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise UsageError(
            "usage.extra", "the driver of PostgreSQL is not installed", expected="loadlock[postgresql]"
        ) from error
    return postgresql_store(url)


def database_url(layout: Layout) -> str:
    """Where the deployment's database is; empty for the embedded one.

    Raises:
        UsageError: ``usage.configuration`` when others can read the file; ``io.failed``.
        FormatError: any ``format.*`` code.
    """
    named = os.environ.get(DATABASE_URL, "")
    path = layout.database_address
    if named or not path.exists():
        return named
    if path.stat().st_mode & 0o077:
        raise UsageError(
            "usage.configuration", f"{path.name} may hold a password, and others can read it", todo=f"chmod 600 {path}"
        )
    return read_toml(path, _Database).url
