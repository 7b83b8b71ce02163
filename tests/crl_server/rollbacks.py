"""A deployment's database as it was at an earlier moment, of either engine."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from crl_server.layout import Layout
from crl_server.storage.databases import database_url
from tests import postgresql
from tests.postgresql import name_of


def keep(layout: Layout, file: Path) -> None:
    """Keep what the database holds now in a new file."""
    url = database_url(layout)
    if url:
        postgresql.shared().tool("pg_dump", "--format=custom", f"--file={file}", url)
        return
    with closing(sqlite3.connect(layout.database)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)


def lose(layout: Layout) -> None:
    """Do away with the database, whoever uses it."""
    url = database_url(layout)
    if url:
        postgresql.shared().tool("dropdb", "--force", name_of(url))
    for path in layout.root.glob("server/loadlock.sqlite*"):
        path.unlink()


def put_back(layout: Layout, file: Path) -> None:
    """Put what was kept into the place of the database."""
    lose(layout)
    url = database_url(layout)
    if url:
        server = postgresql.shared()
        server.tool("createdb", "--template=template0", "--encoding=UTF8", "--locale=C", name_of(url))
        server.tool("pg_restore", "--exit-on-error", f"--dbname={url}", str(file))
    else:
        shutil.copyfile(file, layout.database)
