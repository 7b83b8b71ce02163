"""The RECORD of each wheel, for hosts that have it installed."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; wheels that were admitted before have none until they are published again."""
    op.add_column("artifact", sql.Column("record", sql.LargeBinary, nullable=True))
