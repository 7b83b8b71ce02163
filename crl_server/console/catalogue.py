"""The registry's pages: plugins, one plugin with its versions, one artifact with its covenant, evidence and parts."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, get_args

from fastapi import FastAPI, Query, Request, Response

from crl_server.api.edge import AfterDigest, DigestPart, PluginPart
from crl_server.api.plugins import search
from crl_server.console import covenant, questions
from crl_server.console.desk import Desk, Facts, page_of
from crl_server.console.evidence import evidence
from crl_server.plugins import registry
from crl_server.plugins.ranking import Wanted
from crl_server.storage.ledger import MAX_ID
from crl_server.storage.tables import Artifact
from verifier.errors import Refused
from verifier.formats.manifest import Capability, Kind, Maturity, parse_signed_manifest
from verifier.formats.policy import Policy
from verifier.formats.text import Digest, PluginId

SHOWN = 50
PARTS = 100
"""How many components a page has."""

Words = Annotated[str, Query(max_length=200)]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/plugins")
    async def plugins(
        request: Request,
        q: Words = "",
        capability: Words = "",
        maturity: Words = "",
        kind: Words = "",
        owner: Words = "",
        after: Annotated[str, Query(max_length=80)] = "",
    ) -> Response:
        visitor = await desk.reader(request, "artifact.read")
        template = "plugins_rows.html" if request.headers.get("hx-target") == "results" else "plugins.html"
        wanted = Wanted(q.strip(), capability, "", maturity, owner.strip(), kind)
        return await desk.show(visitor, template, lambda: _plugins(desk, wanted, after))

    @console.get("/plugins/{plugin_id}")
    async def plugin(request: Request, plugin_id: PluginPart, after: AfterDigest = None) -> Response:
        visitor = await desk.reader(request, "artifact.read")
        seen = None if after is None else Digest(after)
        return await desk.show(visitor, "plugin.html", lambda: _plugin(desk, PluginId(plugin_id), seen))

    @console.get("/artifacts/{digest}")
    async def artifact(request: Request, digest: DigestPart) -> Response:
        visitor = await desk.reader(request, "artifact.read")
        return await desk.show(visitor, "artifact.html", lambda: _artifact(desk, Digest(digest)))

    @console.get("/artifacts/{digest}/components")
    async def components(
        request: Request, digest: DigestPart, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0
    ) -> Response:
        visitor = await desk.reader(request, "artifact.read")
        return await desk.show(visitor, "components.html", lambda: _components(desk, Digest(digest), after))


def _plugins(desk: Desk, wanted: Wanted, after: str) -> Facts:
    found = search(desk.authority.store, wanted, after, SHOWN)
    return {
        "rows": found.plugins,
        "more": found.next,
        "wanted": wanted,
        "filtered": wanted != Wanted(),
        "capabilities": get_args(Capability),
        "maturities": get_args(Maturity),
        "kinds": get_args(Kind),
    }


def _plugin(desk: Desk, plugin_id: PluginId, after: Digest | None) -> Facts:
    policy = desk.authority.repository.trust().policy
    with desk.authority.store.read() as ledger:
        newest = registry.newest(ledger, plugin_id)
        if newest is None:
            raise Refused("registry.unknown", "the registry has no such plugin", found=repr(plugin_id))
        rows, last = page_of(registry.artifacts(ledger, plugin_id, after, SHOWN + 1), SHOWN)
        versions = [
            (row, ledger.reasons(Digest(row.digest)), ledger.listed(Digest(row.digest)) is not None) for row in rows
        ]
        rules = questions.rules_about(ledger, plugin_id)
    return {
        "plugin_id": plugin_id,
        "versions": versions,
        "more": None if last is None else last.digest,
        "newest": newest,
        "rule": policy.plugins.get(plugin_id),
        "standing": rules,
        **_covenant(newest),
    }


def _covenant(row: Artifact) -> dict[str, Any]:
    manifest = parse_signed_manifest(row.manifest)
    return {
        "manifest": manifest,
        "capabilities": covenant.capabilities(manifest),
        "destinations": covenant.destinations(manifest),
        "limits": covenant.limits(manifest.limits),
        "data": covenant.data(manifest),
    }


def _artifact(desk: Desk, digest: Digest) -> Facts:
    policy = desk.authority.repository.trust().policy
    with desk.authority.store.read() as ledger:
        row = registry.artifact(ledger, digest)
        reasons = questions.all_reasons(ledger, digest)
        if row is None and not reasons:
            raise Refused("registry.unknown", "the registry has no such artifact", found=digest)
        facts: dict[str, Any] = {
            "digest": digest,
            "row": row,
            "reasons": reasons,
            "listed": ledger.listed(digest),
            "requests": questions.requests_about(ledger, digest),
            "key": secrets.token_urlsafe(24),
        }
        if row is not None:
            facts |= _known(row, policy) | _parts(questions.components(ledger, digest, 0, PARTS + 1), digest)
            facts["count"] = questions.component_count(ledger, digest)
    return facts


def _known(row: Artifact, policy: Policy) -> dict[str, Any]:
    return {"evidence": evidence(row.attestations, json.loads(row.signers), policy), **_covenant(row)}


def _parts(rows: Any, digest: Digest) -> dict[str, Any]:
    return {"parts": rows[:PARTS], "more": rows[PARTS - 1].id if len(rows) > PARTS else None, "digest": digest}


def _components(desk: Desk, digest: Digest, after: int) -> Facts:
    with desk.authority.store.read() as ledger:
        row = registry.artifact(ledger, digest)
        if row is None:
            raise Refused("registry.unknown", "the registry has no such artifact", found=digest)
        found = questions.components(ledger, digest, after, PARTS + 1)
        return {"row": row, "count": questions.component_count(ledger, digest), **_parts(found, digest)}
