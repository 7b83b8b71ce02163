"""``/v1/openapi.json``: what the API is, for programs."""

from __future__ import annotations

from functools import cache

from fastapi import FastAPI, Request, Response

from crl_server.api.describe import openapi, told
from crl_server.api.edge import Edge, check_query, tagged
from verifier.formats.strict_json import dumps


def add_routes(app: FastAPI, _: Edge) -> None:
    """Add the routes of this subject."""

    @cache
    def document() -> bytes:
        return dumps(openapi(app))  # once all routes are there, and not at every start

    @app.get("/v1/openapi.json")
    @told("This document.", None, answer=dict, tagged=True, codes=("request.invalid",))
    async def description(request: Request) -> Response:
        check_query(request)
        return tagged(request, document())
