"""The schema's history. Each step is a module in ``versions``; ``upgrade`` takes a database to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config


def upgrade(connection: Any) -> None:
    """Bring the database behind ``connection`` (of SQLAlchemy, in a transaction) to the newest schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
