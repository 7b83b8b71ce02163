"""What somebody with access to the database can do to it, whatever engine it is of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, text
from sqlmodel import SQLModel

from crl_server.service import Authority

Rows = dict[str, list[dict[str, Any]]]


def tamper(authority: Authority, statement: str, **values: object) -> None:
    """Run a statement behind the service's back."""
    with authority.store.write() as ledger:
        ledger.session.connection().execute(text(statement), values)


def backup(authority: Authority) -> Rows:
    """Everything in the database."""
    with authority.store.read() as ledger:
        connection = ledger.session.connection()
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in SQLModel.metadata.sorted_tables
        }


def restore(authority: Authority, rows: Rows) -> None:
    """Put the database back to what it was."""
    authority.store.empty()
    with authority.store.write() as ledger:
        for table in SQLModel.metadata.sorted_tables:
            if rows[table.name]:
                ledger.session.connection().execute(insert(table), rows[table.name])
