"""How severe what is revoked is."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add it; what is there stays as it is."""
    for table in ("revocation", "standing_rule"):
        op.add_column(table, sql.Column("severity", sql.String(10), nullable=True))
