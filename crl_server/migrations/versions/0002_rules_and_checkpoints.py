"""Standing rules, reinstatements and checkpoints."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what they need; what is there stays as it is."""
    op.add_column("artifact", sql.Column("subject", sql.LargeBinary, nullable=True))
    op.add_column("list_entry", sql.Column("removed", sql.Integer, nullable=True))
    op.add_column("revocation", sql.Column("rule", sql.Integer, nullable=True))
    op.add_column("revocation", sql.Column("withdrawn", sql.Integer, nullable=True))
    op.create_table(
        "standing_rule",
        sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("kind", sql.String(50), nullable=False),
        sql.Column("match", sql.LargeBinary, nullable=False),
        sql.Column("reason", sql.String(50), nullable=False),
        sql.Column("note", sql.String(2000), nullable=False),
        sql.Column("seq", sql.Integer, sql.ForeignKey("event.seq"), nullable=False),
        sql.Column("at", sql.String(20), nullable=False),
        sql.Column("by", sql.String(200), nullable=False),
        sql.Column("removed", sql.Integer, nullable=True),
    )
    op.create_table(
        "rule_exception",
        sql.Column("rule", sql.Integer, sql.ForeignKey("standing_rule.number"), primary_key=True),
        sql.Column("digest", sql.String(71), primary_key=True),
    )
    op.create_table(
        "reinstatement",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("digest", sql.String(71), nullable=True),
        sql.Column("rule", sql.Integer, sql.ForeignKey("standing_rule.number"), nullable=True),
        sql.Column("newest", sql.Integer, nullable=False),
        sql.Column("note", sql.String(2000), nullable=False),
        sql.Column("at", sql.String(20), nullable=False),
        sql.Column("by", sql.String(200), nullable=False),
        sql.Column("approved_at", sql.String(20), nullable=True),
        sql.Column("approved_by", sql.String(200), nullable=True),
        sql.Column("epoch", sql.Integer, nullable=True),
    )
    op.create_table(
        "checkpoint",
        sql.Column("epoch", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("through", sql.Integer, nullable=False),
        sql.Column("document", sql.LargeBinary, nullable=False),
        sql.Column("requests", sql.String, nullable=False),
        sql.Column("taken_back", sql.LargeBinary, nullable=False),
        sql.Column("metadata", sql.LargeBinary, nullable=True),
    )
