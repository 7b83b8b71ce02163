"""What exports have to remove later, and what webhooks have to be told yet."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add what they need; what is there stays as it is."""
    op.create_table(
        "export_leftover",
        sql.Column("export", sql.String(64), primary_key=True),
        sql.Column("path", sql.String(200), primary_key=True),
        sql.Column("since", sql.String(20), nullable=False),
    )
    op.create_table(
        "webhook_cursor",
        sql.Column("webhook", sql.String(64), primary_key=True),
        sql.Column("position", sql.Integer, nullable=False),
    )
    op.create_table(
        "webhook_delivery",
        sql.Column("webhook", sql.String(64), primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("attempts", sql.Integer, nullable=False),
        sql.Column("due", sql.String(20), nullable=False),
        sql.Column("found", sql.String(300), nullable=False),
        sql.Column("dead", sql.String(20), nullable=True),
    )
    op.create_index("ix_webhook_delivery_due", "webhook_delivery", ["due"])
