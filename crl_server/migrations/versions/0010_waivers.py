"""Waivers that were asked for, and who approved them."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add what they need; what is there stays as it is."""
    op.create_table(
        "waiver",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("artifact", sql.String(71), nullable=False),
        sql.Column("lifts", sql.String(30), nullable=False),
        sql.Column("until", sql.String(20), nullable=False),
        sql.Column("reason", sql.String(500), nullable=False),
        sql.Column("at", sql.String(20), nullable=False),
        sql.Column("by", sql.String(200), nullable=False),
        sql.Column("approved_at", sql.String(20), nullable=True),
        sql.Column("approved_by", sql.String(200), nullable=True),
    )
