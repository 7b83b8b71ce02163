"""What hosts say of themselves, and the tokens that they say it with."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what they need; what is there stays as it is."""
    op.add_column("token", sql.Column("host", sql.String(64), nullable=True))
    op.create_table(
        "host_instance",
        sql.Column("host", sql.String(64), primary_key=True),
        sql.Column("instance", sql.String(32), primary_key=True),
        sql.Column("epoch", sql.Integer, nullable=False),
        sql.Column("seq", sql.Integer, nullable=False),
        sql.Column("top_epoch", sql.Integer, nullable=False),
        sql.Column("top_seq", sql.Integer, nullable=False),
        sql.Column("policy", sql.Integer, nullable=False),
        sql.Column("loadlock", sql.String(64), nullable=False),
        sql.Column("plugins", sql.String(64), nullable=False),
        sql.Column("running", sql.Integer, nullable=False),
        sql.Column("omitted", sql.Integer, nullable=False),
        sql.Column("at", sql.String(20), nullable=False),
        sql.Column("heard", sql.String(20), nullable=False, index=True),
    )
    op.create_table(
        "host_plugin",
        sql.Column("host", sql.String(64), primary_key=True),
        sql.Column("instance", sql.String(32), primary_key=True),
        sql.Column("digest", sql.String(71), primary_key=True, index=True),
        sql.Column("plugin_id", sql.String(64), nullable=False),
        sql.Column("version", sql.String(64), nullable=False),
        sql.Column("since", sql.String(20), nullable=False),
        sql.Column("state", sql.String(10), nullable=False),
    )
