"""How coverage was over time."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add it."""
    op.create_table(
        "coverage_point",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("at", sql.String(20), nullable=False, index=True),
        sql.Column("seq", sql.Integer, nullable=False),
        sql.Column("hosts", sql.Integer, nullable=False),
        sql.Column("enforcing", sql.Integer, nullable=False),
        sql.Column("silent", sql.Integer, nullable=False),
    )
