"""The plugins that an API token may publish."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add them; what is there stays as it is."""
    op.add_column("token", sql.Column("plugins", sql.String(4000), nullable=True))
