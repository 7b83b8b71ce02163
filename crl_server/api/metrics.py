"""``/metrics``: what is measured, for Prometheus; who may read it is a setting (docs/spec/settings.md)."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client.exposition import choose_encoder

from crl_server.api.describe import told
from crl_server.api.edge import Edge
from crl_server.settings import is_loopback

PROXIED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers that a proxy adds: who comes through one does not come from this machine, whatever the connection says."""


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.get("/metrics")
    @told("What is measured, for Prometheus.", None, media="text/plain", codes=("auth.token", "auth.role"))
    async def metrics(request: Request) -> Response:
        if not _open_to(request, edge.authority.settings.metrics.access):
            await edge.admit(request, "metrics.read")
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        body = await run_in_threadpool(encode, edge.instruments.registry)
        return Response(body, headers={"Cache-Control": "no-store", "Content-Type": media_type})


def _open_to(request: Request, access: str) -> bool:
    """Whether whoever asks needs no token."""
    near = request.client is not None and is_loopback(request.client.host)
    direct = not any(name in request.headers for name in PROXIED)
    return access == "open" or (access == "loopback" and near and direct)
