"""``/v1/artifacts`` and ``/v1/plugins``: admitting, and what the registry shows."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlmodel import select

from crl_server import registry
from crl_server.api.bodies import read_upload
from crl_server.api.edge import Edge, Limit, answer, key_of, parsed
from crl_server.api.revocations import reason_of
from crl_server.ledger import Ledger
from crl_server.store import Store
from crl_server.tables import Artifact, Component
from verifier.errors import Refused
from verifier.formats.text import Digest, PluginId


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/artifacts")
    async def admit(request: Request) -> Response:
        identity, now = await edge.admit(request, "artifact.admit")
        async with edge.uploads:
            upload = await read_upload(request)
            done = await run_in_threadpool(edge.authority.admit, upload, identity, now, key_of(request))
        return answer(done, 201, {"Location": f"/v1/artifacts/{done.digest}"})

    @app.get("/v1/artifacts/{digest}")
    async def one_artifact(request: Request, digest: str) -> Response:
        await edge.admit(request, "artifact.read")
        return answer(await run_in_threadpool(artifact, edge.authority.store, digest))

    @app.get("/v1/plugins")
    async def all_plugins(
        request: Request, after: Annotated[str, Query(max_length=64)] = "", limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "artifact.read")
        return answer(await run_in_threadpool(plugins, edge.authority.store, after, limit))

    @app.get("/v1/plugins/{plugin_id}")
    async def one_plugin(request: Request, plugin_id: str) -> Response:
        await edge.admit(request, "artifact.read")
        return answer(await run_in_threadpool(plugin, edge.authority.store, plugin_id))


def plugins(store: Store, after: str, limit: int) -> dict[str, Any]:
    """A page of plugin ids, each with its number of artifacts."""
    with store.read() as ledger:
        rows = registry.plugins(ledger, after, limit)
    page = [{"plugin_id": plugin_id, "artifacts": count} for plugin_id, count in rows]
    return {"plugins": page, "next": rows[-1][0] if len(rows) == limit else None}


def plugin(store: Store, plugin_id: str) -> dict[str, Any]:
    """A plugin's artifacts, the last admitted first.

    Raises:
        Refused: ``registry.unknown``.
        UsageError: ``request.invalid``.
    """
    with store.read() as ledger:
        rows = registry.artifacts(ledger, parsed(PluginId, plugin_id))
        if not rows:
            raise Refused("registry.unknown", "the registry has no such plugin", found=repr(plugin_id[:80]))
        return {"plugin_id": plugin_id, "artifacts": [_summary(ledger, row) for row in rows]}


def artifact(store: Store, digest: str) -> dict[str, Any]:
    """All that is known of an artifact.

    Raises:
        Refused: ``registry.unknown``.
        UsageError: ``request.invalid``.
    """
    wanted = parsed(Digest, digest)
    with store.read() as ledger:
        row = registry.artifact(ledger, wanted)
        if row is None:
            raise Refused("registry.unknown", "the registry has no such artifact", found=wanted)
        parts = ledger.session.exec(select(Component).where(Component.artifact == wanted)).all()
        return {
            **_summary(ledger, row),
            "manifest": json.loads(row.manifest),
            "components": [{"name": part.name, "version": part.version, "purl": part.purl} for part in parts],
            "attestations": f"/sets/{wanted.hex}.jsonl",
        }


def _summary(ledger: Ledger, row: Artifact) -> dict[str, Any]:
    reasons = ledger.reasons(Digest(row.digest))
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
        "revoked": [reason_of(reason) for reason in reasons],
    }
