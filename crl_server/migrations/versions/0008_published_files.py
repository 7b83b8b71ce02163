"""The files of the public tree, for servers that share a database."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add their table; what is there stays as it is."""
    op.create_table(
        "published_file",
        sql.Column("path", sql.String(300), primary_key=True),
        sql.Column("number", sql.Integer, nullable=False, unique=True),
        sql.Column("sha256", sql.String(64), nullable=False),
        sql.Column("content", sql.LargeBinary, nullable=False),
    )
