"""``/v1/artifacts`` and ``/v1/plugins``: admitting, and what the registry shows."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlmodel import select

from crl_server import registry
from crl_server.admission import Admission
from crl_server.api.bodies import OPTIONAL, PARTS, read_upload
from crl_server.api.describe import told
from crl_server.api.edge import DigestPart, Edge, Limit, PluginPart, answer, key_of, tagged
from crl_server.api.revocations import Reason, reason_of
from crl_server.ledger import Ledger
from crl_server.store import Store
from crl_server.tables import Artifact, Component
from verifier.errors import Refused
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest, PluginId

ADMISSION = (
    "auth.plugin", "server.*", "clock.behind", "request.idempotency", "trust.*", "list.*", "revoked.*", "set.*",
    "signature.*", "subject.*", "wheel.*", "manifest.*", "sbom.*", "dependency.*", "provenance.*", "certification.*",
    "rule.*", "decision.*", "layout.*", "format.*", "findings.*", "usage.*",
)  # fmt: skip
"""The groups of codes that a plugin may be refused with."""
UNKNOWN = ("registry.unknown",)


class Summary(Document, frozen=True, kw_only=True):
    """An admitted artifact: what it is, who signed what of it, and why it is revoked, if it is."""

    digest: str
    file_name: str
    plugin_id: str
    version: str
    tier: str
    manifest_digest: str
    signers: dict[str, str]
    policy_version: int
    admitted_at: str
    admitted_by: str
    revoked: tuple[Reason, ...]


class ComponentRow(Document, frozen=True, kw_only=True):
    """A component that an artifact's SBOM lists."""

    name: str
    version: str
    purl: str


class ArtifactDetail(Summary, frozen=True, kw_only=True):
    """All that is known of an artifact: its signed manifest, its components, and where its attestation set is."""

    manifest: dict[str, Any]
    components: tuple[ComponentRow, ...]
    attestations: str


class PluginRow(Document, frozen=True, kw_only=True):
    """A plugin and its number of artifacts."""

    plugin_id: str
    artifacts: int


class PluginPage(Document, frozen=True, kw_only=True):
    """Plugins in alphabetical order; ``next`` is what to pass as ``after`` for more, null at the end."""

    plugins: tuple[PluginRow, ...]
    next: str | None


class PluginDetail(Document, frozen=True, kw_only=True):
    """A plugin's artifacts, the last admitted first."""

    plugin_id: str
    artifacts: tuple[Summary, ...]


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/artifacts")
    @told(
        "Admit a plugin: a wheel with its attestation set.", "artifact.admit",
        form=dict.fromkeys(PARTS, True) | dict.fromkeys(OPTIONAL, False), answer=Admission, status=201, codes=ADMISSION,
    )  # fmt: skip
    async def admit(request: Request) -> Response:
        identity, now = await edge.admit(request, "artifact.admit")
        async with edge.uploads:
            upload = await read_upload(request)
            done = await run_in_threadpool(edge.authority.admit, upload, identity, now, key_of(request))
        return answer(done, 201, {"Location": f"/v1/artifacts/{done.digest}"})

    @app.get("/v1/artifacts/{digest}")
    @told("All that is known of an artifact.", "artifact.read", answer=ArtifactDetail, tagged=True, codes=UNKNOWN)
    async def one_artifact(request: Request, digest: DigestPart) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(artifact, edge.authority.store, Digest(digest)))

    @app.get("/v1/plugins")
    @told("Plugins in alphabetical order.", "artifact.read", answer=PluginPage, tagged=True)
    async def all_plugins(
        request: Request, after: Annotated[str, Query(max_length=64)] = "", limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(plugins, edge.authority.store, after, limit))

    @app.get("/v1/plugins/{plugin_id}")
    @told(
        "A plugin's artifacts, the last admitted first.",
        "artifact.read",
        answer=PluginDetail,
        tagged=True,
        codes=UNKNOWN,
    )
    async def one_plugin(request: Request, plugin_id: PluginPart) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(plugin, edge.authority.store, PluginId(plugin_id)))


def plugins(store: Store, after: str, limit: int) -> PluginPage:
    """A page of plugin ids, each with its number of artifacts."""
    with store.read() as ledger:
        rows = registry.plugins(ledger, after, limit)
    page = tuple(PluginRow(plugin_id=plugin_id, artifacts=count) for plugin_id, count in rows)
    return PluginPage(plugins=page, next=page[-1].plugin_id if len(rows) == limit else None)


def plugin(store: Store, plugin_id: PluginId) -> PluginDetail:
    """A plugin's artifacts, the last admitted first.

    Raises:
        Refused: ``registry.unknown``.
    """
    with store.read() as ledger:
        rows = registry.artifacts(ledger, plugin_id)
        if not rows:
            raise Refused("registry.unknown", "the registry has no such plugin", found=plugin_id)
        return PluginDetail(plugin_id=plugin_id, artifacts=tuple(Summary(**_fields(ledger, row)) for row in rows))


def artifact(store: Store, wanted: Digest) -> ArtifactDetail:
    """All that is known of an artifact.

    Raises:
        Refused: ``registry.unknown``.
    """
    with store.read() as ledger:
        row = registry.artifact(ledger, wanted)
        if row is None:
            raise Refused("registry.unknown", "the registry has no such artifact", found=wanted)
        parts = ledger.session.exec(select(Component).where(Component.artifact == wanted)).all()
        return ArtifactDetail(
            **_fields(ledger, row),
            manifest=json.loads(row.manifest),
            components=tuple(ComponentRow(name=part.name, version=part.version, purl=part.purl) for part in parts),
            attestations=f"/sets/{wanted.hex}.jsonl",
        )


def _fields(ledger: Ledger, row: Artifact) -> dict[str, Any]:
    return {
        "digest": row.digest,
        "file_name": row.file_name,
        "plugin_id": row.plugin_id,
        "version": row.version,
        "tier": row.tier,
        "manifest_digest": row.manifest_digest,
        "signers": json.loads(row.signers),
        "policy_version": row.policy_version,
        "admitted_at": row.admitted_at,
        "admitted_by": row.admitted_by,
        "revoked": tuple(reason_of(reason) for reason in ledger.reasons(Digest(row.digest))),
    }
