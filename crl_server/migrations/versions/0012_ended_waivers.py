"""Who ended a waiver before its time."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add it; what is there stays as it is."""
    op.add_column("waiver", sql.Column("ended_at", sql.String(20), nullable=True))
    op.add_column("waiver", sql.Column("ended_by", sql.String(200), nullable=True))
