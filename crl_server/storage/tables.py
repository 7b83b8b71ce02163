"""The database's tables. Times are text as :class:`verifier.formats.text.Time` writes it, digests are ``sha256:…``.

The schema itself is made by the migrations; a test holds the two together.
"""

from __future__ import annotations

from sqlmodel import Column, Field, LargeBinary, SQLModel

DIGEST = 71
"""Characters of ``sha256:`` and 64 digits."""


class Artifact(SQLModel, table=True):
    """A wheel that was admitted, with the attestation set it was last admitted on."""

    digest: str = Field(primary_key=True, max_length=DIGEST)
    file_name: str = Field(max_length=255)
    plugin_id: str = Field(index=True, max_length=64)
    version: str = Field(max_length=64)
    tier: str = Field(max_length=16)
    manifest_digest: str = Field(max_length=DIGEST)
    manifest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    attestations: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    record: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    subject: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    signers: str = Field(max_length=1000)
    policy_version: int
    admitted_at: str = Field(max_length=20)
    admitted_by: str = Field(max_length=200)


class Component(SQLModel, table=True):
    """A library that an admitted artifact's SBOM lists; the registry shows these."""

    id: int | None = Field(default=None, primary_key=True)
    artifact: str = Field(foreign_key="artifact.digest", index=True, max_length=DIGEST)
    purl: str = Field(index=True, max_length=1000)
    name: str = Field(max_length=500)
    version: str = Field(max_length=200)


class Event(SQLModel, table=True):
    """One step of the list: its number is unique, and committed before anything is signed."""

    seq: int = Field(primary_key=True)
    at: str = Field(max_length=20)


class ListEntry(SQLModel, table=True):
    """A digest on the list, and the event that put it there; or the epoch in which it was taken off again."""

    __tablename__ = "list_entry"

    digest: str = Field(primary_key=True, max_length=DIGEST)
    seq: int = Field(foreign_key="event.seq", index=True)
    removed: int | None = None


class Revocation(SQLModel, table=True):
    """A reason for which a digest is on the list; it may have several. ``rule`` is the standing rule that it comes
    from; ``withdrawn`` the epoch since which it counts no more; ``severity`` how severe the matter is, if known.
    """

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(foreign_key="list_entry.digest", index=True, max_length=DIGEST)
    reason: str = Field(max_length=50)
    note: str = Field(max_length=2000)
    at: str = Field(max_length=20)
    by: str = Field(max_length=200)
    rule: int | None = None
    withdrawn: int | None = None
    severity: str | None = Field(default=None, max_length=10)


class StandingRule(SQLModel, table=True):
    """A standing rule: what it matches as JSON, and the epoch in which it was taken out of force."""

    __tablename__ = "standing_rule"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    kind: str = Field(max_length=50)
    match: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    reason: str = Field(max_length=50)
    note: str = Field(max_length=2000)
    seq: int = Field(foreign_key="event.seq")
    at: str = Field(max_length=20)
    by: str = Field(max_length=200)
    removed: int | None = None
    severity: str | None = Field(default=None, max_length=10)


class RuleException(SQLModel, table=True):
    """An artifact that a standing rule does not deny."""

    __tablename__ = "rule_exception"

    rule: int = Field(foreign_key="standing_rule.number", primary_key=True)
    digest: str = Field(primary_key=True, max_length=DIGEST)


class Reinstatement(SQLModel, table=True):
    """A request to take an artifact or a rule back, or (with both) to except the artifact from that rule alone.

    It withdraws reasons up to the one with the id ``newest``; ``epoch`` is the checkpoint that carried it out.
    """

    id: int | None = Field(default=None, primary_key=True)
    digest: str | None = Field(default=None, max_length=DIGEST)
    rule: int | None = Field(default=None, foreign_key="standing_rule.number")
    newest: int
    note: str = Field(max_length=2000)
    at: str = Field(max_length=20)
    by: str = Field(max_length=200)
    approved_at: str | None = Field(default=None, max_length=20)
    approved_by: str | None = Field(default=None, max_length=200)
    epoch: int | None = None


class CheckpointRow(SQLModel, table=True):
    """A checkpoint that was prepared: its bytes, the requests it carries out and the digests it takes back, as JSON;
    and its signed metadata once it is published.
    """

    __tablename__ = "checkpoint"

    epoch: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    through: int
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    requests: str
    taken_back: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    signed: bytes | None = Field(default=None, sa_column=Column("metadata", LargeBinary, nullable=True))


class ListSegment(SQLModel, table=True):
    """A segment as it was last published."""

    __tablename__ = "list_segment"

    first: int = Field(primary_key=True)
    last: int
    entries: int
    sha256: str = Field(max_length=64)


class AuditLine(SQLModel, table=True):
    """One entry of the audit log: its exact bytes and their hash."""

    __tablename__ = "audit_line"

    index: int = Field(primary_key=True)
    line: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    sha256: str = Field(max_length=64)


class Token(SQLModel, table=True):
    """An API token: never itself, only the sha256 of it; ``plugins`` are the only ones that it may publish, if any are
    named.
    """

    name: str = Field(primary_key=True, max_length=64)
    sha256: str = Field(unique=True, max_length=64)
    roles: str = Field(max_length=200)
    created: str = Field(max_length=20)
    expires: str = Field(max_length=20)
    revoked: str | None = Field(default=None, max_length=20)
    host: str | None = Field(default=None, max_length=64)
    plugins: str | None = Field(default=None, max_length=4000)


class WaiverRow(SQLModel, table=True):
    """A waiver that somebody asked for, who approved it, and who ended it before its time."""

    __tablename__ = "waiver"

    id: int | None = Field(default=None, primary_key=True)
    artifact: str = Field(max_length=DIGEST)
    lifts: str = Field(max_length=30)
    until: str = Field(max_length=20)
    reason: str = Field(max_length=500)
    at: str = Field(max_length=20)
    by: str = Field(max_length=200)
    approved_at: str | None = Field(default=None, max_length=20)
    approved_by: str | None = Field(default=None, max_length=200)
    ended_at: str | None = Field(default=None, max_length=20)
    ended_by: str | None = Field(default=None, max_length=200)


class HostInstance(SQLModel, table=True):
    """One process of a host, as it spoke of itself last; ``top_…`` is the highest list that its host ever named."""

    __tablename__ = "host_instance"

    host: str = Field(primary_key=True, max_length=64)
    instance: str = Field(primary_key=True, max_length=32)
    epoch: int
    seq: int
    top_epoch: int
    top_seq: int
    policy: int
    loadlock: str = Field(max_length=64)
    plugins: str = Field(max_length=64)
    running: int
    omitted: int
    at: str = Field(max_length=20)
    heard: str = Field(index=True, max_length=20)


class HostPlugin(SQLModel, table=True):
    """A plugin that a host's process has loaded."""

    __tablename__ = "host_plugin"

    host: str = Field(primary_key=True, max_length=64)
    instance: str = Field(primary_key=True, max_length=32)
    digest: str = Field(primary_key=True, index=True, max_length=DIGEST)
    plugin_id: str = Field(max_length=64)
    version: str = Field(max_length=64)
    since: str = Field(max_length=20)
    state: str = Field(max_length=10)


class IdempotencyKey(SQLModel, table=True):
    """A write that was done under a key: what was asked, and what was answered."""

    __tablename__ = "idempotency_key"

    actor: str = Field(primary_key=True, max_length=200)
    key: str = Field(primary_key=True, max_length=200)
    request: str = Field(max_length=64)
    answer: str
    at: str = Field(index=True, max_length=20)


class PublishedFile(SQLModel, table=True):
    """A file of the public tree, for servers that share the database; they write the files in order of the numbers."""

    __tablename__ = "published_file"

    path: str = Field(primary_key=True, max_length=300)
    number: int = Field(unique=True)
    sha256: str = Field(max_length=64)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Setting(SQLModel, table=True):
    """A fact about the deployment itself: its id, and what was last published."""

    name: str = Field(primary_key=True, max_length=50)
    value: str = Field(max_length=200)


class ExportLeftover(SQLModel, table=True):
    """A file of an export that nothing refers to, and since when."""

    __tablename__ = "export_leftover"

    export: str = Field(primary_key=True, max_length=64)
    path: str = Field(primary_key=True, max_length=200)
    since: str = Field(max_length=20)


class WebhookCursor(SQLModel, table=True):
    """Up to which entry of the audit log a webhook's deliveries have been written down."""

    __tablename__ = "webhook_cursor"

    webhook: str = Field(primary_key=True, max_length=64)
    position: int


class WebhookDelivery(SQLModel, table=True):
    """An entry of the audit log that a webhook has not been told of yet: how often it was tried, when it is due again,
    what went wrong last, and since when it is given up. What was delivered is not here any more.
    """

    __tablename__ = "webhook_delivery"

    webhook: str = Field(primary_key=True, max_length=64)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    attempts: int = 0
    due: str = Field(index=True, max_length=20)
    found: str = Field(default="", max_length=300)
    dead: str | None = Field(default=None, max_length=20)


class CoveragePoint(SQLModel, table=True):
    """How far the newest event had come at a moment: hosts heard of lately, those that enforced it, and silent ones."""

    __tablename__ = "coverage_point"

    id: int | None = Field(default=None, primary_key=True)
    at: str = Field(index=True, max_length=20)
    seq: int
    hosts: int
    enforcing: int
    silent: int


class ConsoleSession(SQLModel, table=True):
    """Somebody signed in at the console: never the browser's secret, only its sha256. ``source`` is the token's name,
    or the issuer with a digest of what the operator says of it.
    """

    __tablename__ = "console_session"

    sha256: str = Field(primary_key=True, max_length=64)
    actor: str = Field(index=True, max_length=200)
    roles: str = Field(max_length=200)
    source: str = Field(max_length=200)
    began: str = Field(max_length=20)
    used: str = Field(max_length=20)
    ends: str = Field(max_length=20)
