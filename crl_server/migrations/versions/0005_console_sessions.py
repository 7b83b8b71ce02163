"""Sessions of the console."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "console_session",
        sql.Column("sha256", sql.String(64), primary_key=True),
        sql.Column("actor", sql.String(200), nullable=False, index=True),
        sql.Column("roles", sql.String(200), nullable=False),
        sql.Column("source", sql.String(200), nullable=False),
        sql.Column("began", sql.String(20), nullable=False),
        sql.Column("used", sql.String(20), nullable=False),
        sql.Column("ends", sql.String(20), nullable=False),
    )
