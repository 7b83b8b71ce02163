"""The first schema."""

from __future__ import annotations

import sqlmodel as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    _registry()
    _list()
    _service()


def _registry() -> None:
    op.create_table(
        "artifact",
        sql.Column("digest", sql.String(71), primary_key=True),
        sql.Column("file_name", sql.String(255), nullable=False),
        sql.Column("plugin_id", sql.String(64), nullable=False, index=True),
        sql.Column("version", sql.String(64), nullable=False),
        sql.Column("tier", sql.String(16), nullable=False),
        sql.Column("manifest_digest", sql.String(71), nullable=False),
        sql.Column("manifest", sql.LargeBinary, nullable=False),
        sql.Column("attestations", sql.LargeBinary, nullable=False),
        sql.Column("signers", sql.String(1000), nullable=False),
        sql.Column("policy_version", sql.Integer, nullable=False),
        sql.Column("admitted_at", sql.String(20), nullable=False),
        sql.Column("admitted_by", sql.String(200), nullable=False),
    )
    op.create_table(
        "component",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("artifact", sql.String(71), sql.ForeignKey("artifact.digest"), nullable=False, index=True),
        sql.Column("purl", sql.String(1000), nullable=False, index=True),
        sql.Column("name", sql.String(500), nullable=False),
        sql.Column("version", sql.String(200), nullable=False),
    )


def _list() -> None:
    op.create_table(
        "event",
        sql.Column("seq", sql.Integer, primary_key=True),
        sql.Column("at", sql.String(20), nullable=False),
    )
    op.create_table(
        "list_entry",
        sql.Column("digest", sql.String(71), primary_key=True),
        sql.Column("seq", sql.Integer, sql.ForeignKey("event.seq"), nullable=False, index=True),
    )
    op.create_table(
        "revocation",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("digest", sql.String(71), sql.ForeignKey("list_entry.digest"), nullable=False, index=True),
        sql.Column("reason", sql.String(50), nullable=False),
        sql.Column("note", sql.String(2000), nullable=False),
        sql.Column("at", sql.String(20), nullable=False),
        sql.Column("by", sql.String(200), nullable=False),
    )
    op.create_table(
        "list_segment",
        sql.Column("first", sql.Integer, primary_key=True),
        sql.Column("last", sql.Integer, nullable=False),
        sql.Column("entries", sql.Integer, nullable=False),
        sql.Column("sha256", sql.String(64), nullable=False),
    )


def _service() -> None:
    op.create_table(
        "audit_line",
        sql.Column("index", sql.Integer, primary_key=True),
        sql.Column("line", sql.LargeBinary, nullable=False),
        sql.Column("sha256", sql.String(64), nullable=False),
    )
    op.create_table(
        "token",
        sql.Column("name", sql.String(64), primary_key=True),
        sql.Column("sha256", sql.String(64), nullable=False, unique=True),
        sql.Column("roles", sql.String(200), nullable=False),
        sql.Column("created", sql.String(20), nullable=False),
        sql.Column("expires", sql.String(20), nullable=False),
        sql.Column("revoked", sql.String(20), nullable=True),
    )
    op.create_table(
        "idempotency_key",
        sql.Column("actor", sql.String(200), primary_key=True),
        sql.Column("key", sql.String(200), primary_key=True),
        sql.Column("request", sql.String(64), nullable=False),
        sql.Column("answer", sql.String, nullable=False),
        sql.Column("at", sql.String(20), nullable=False, index=True),
    )
    op.create_table(
        "setting",
        sql.Column("name", sql.String(50), primary_key=True),
        sql.Column("value", sql.String(200), nullable=False),
    )
