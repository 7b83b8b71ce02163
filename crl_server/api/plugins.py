"""``/v1/plugins``: what there is, searched and ranked, and the versions of one plugin."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import structs

from crl_server.api.describe import told
from crl_server.api.edge import AfterDigest, Edge, Limit, PluginPart, tagged
from crl_server.api.revocations import Reason, reason_of
from crl_server.plugins import ranking, registry
from crl_server.plugins.ranking import PLACE, Card, Place, Wanted
from crl_server.storage.ledger import Ledger
from crl_server.storage.store import Store
from crl_server.storage.tables import Artifact
from verifier.errors import Refused
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest, PluginId

Word = Annotated[str, Query(max_length=100)]


class Found(Card, frozen=True, kw_only=True):
    """A plugin that a search found; the higher the score, the earlier it stands."""

    score: int


class PluginPage(Document, frozen=True, kw_only=True):
    """Plugins, the best first when words were looked for, else by id; ``next`` is what to pass as ``after`` for more,
    null at the end.
    """

    plugins: tuple[Found, ...]
    next: str | None


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


class PluginDetail(Document, frozen=True, kw_only=True):
    """A plugin's artifacts, the last admitted first; ``next`` is what to pass as ``after`` for more."""

    plugin_id: str
    artifacts: tuple[Summary, ...]
    next: str | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.get("/v1/plugins")
    @told(
        "Plugins, looked for and ranked.", "artifact.read", answer=PluginPage, tagged=True, codes=("usage.arguments",)
    )
    async def all_plugins(
        request: Request,
        q: Word = "",
        capability: Word = "",
        hook: Word = "",
        maturity: Word = "",
        owner: Word = "",
        kind: Word = "",
        after: Annotated[str, Query(pattern=f"^(?:{PLACE.pattern})?$")] = "",
        limit: Limit = 100,
    ) -> Response:
        await edge.admit(request, "artifact.read")
        wanted = Wanted(q, capability, hook, maturity, owner, kind)
        return tagged(request, await run_in_threadpool(search, edge.authority.store, wanted, after, limit))

    @app.get("/v1/plugins/{plugin_id}")
    @told(
        "A plugin's artifacts, the last admitted first.", "artifact.read",
        answer=PluginDetail, tagged=True, codes=("registry.unknown",),
    )  # fmt: skip
    async def one_plugin(
        request: Request, plugin_id: PluginPart, after: AfterDigest = None, limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "artifact.read")
        last = None if after is None else Digest(after)
        return tagged(request, await run_in_threadpool(plugin, edge.authority.store, PluginId(plugin_id), last, limit))


def search(store: Store, wanted: Wanted, after: str, limit: int) -> PluginPage:
    """A page of what is wanted.

    Raises:
        UsageError: ``request.invalid`` for an ``after`` that no page ended with.
    """
    begin = Place.parse(after).order if after else None
    with store.read() as ledger:
        ranked = ranking.rank(registry.cards(ledger), wanted)
    rest = [(place, card) for place, card in ranked if begin is None or place.order > begin]
    page = tuple(Found(score=place.score, **structs.asdict(card)) for place, card in rest[:limit])
    return PluginPage(plugins=page, next=str(rest[limit - 1][0]) if len(rest) > limit else None)


def plugin(store: Store, plugin_id: PluginId, after: Digest | None, limit: int) -> PluginDetail:
    """A page of a plugin's artifacts.

    Raises:
        Refused: ``registry.unknown``.
    """
    with store.read() as ledger:
        rows = registry.artifacts(ledger, plugin_id, after, limit)
        if not rows and after is None:
            raise Refused("registry.unknown", "the registry has no such plugin", found=plugin_id)
        page = tuple(Summary(**summary(ledger, row)) for row in rows)
    return PluginDetail(plugin_id=plugin_id, artifacts=page, next=page[-1].digest if len(page) == limit else None)


def summary(ledger: Ledger, row: Artifact) -> dict[str, Any]:
    """The fields of :class:`Summary`."""
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
