"""The schema's history. Each step is a module in ``versions``; ``upgrade`` takes a database to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from verifier.errors import UsageError


def upgrade(connection: Any) -> None:
    """Bring the database behind ``connection`` (of SQLAlchemy, in a transaction) to the newest schema.

    Raises:
        UsageError: ``usage.configuration`` when a newer release has written the database.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UsageError(
            "usage.configuration", "the database is not of this release", found=str(error), todo="Use a newer release."
        ) from error
