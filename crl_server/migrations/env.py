"""Run by Alembic: migrates on the connection it is given; there is no other way in."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from crl_server.storage import tables  # noqa: F401 - fills the metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
with context.begin_transaction():
    context.run_migrations()
