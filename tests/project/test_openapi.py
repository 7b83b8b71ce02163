"""The published OpenAPI document is that of the code, and no route stays out of it."""

from __future__ import annotations

from pathlib import Path

from fastapi.routing import APIRoute

from crl_server.api.app import create_app
from crl_server.api.describe import told_routes
from tests.crl_server.deployments import NOW, made
from tools.generated_docs import OPENAPI, openapi_file

NO_DOCUMENTS = {"/v1/{rest:path}", "/{path:path}"}
"""What answers where nothing is, and the static tree."""


def test_the_published_document_is_that_of_the_code() -> None:
    assert OPENAPI.read_text("utf-8") == openapi_file(), "write it again: python -m tools.generated_docs"


def test_every_route_says_what_it_is(tmp_path: Path) -> None:
    authority = made(tmp_path / "acme")
    routes = create_app(authority, lambda: NOW).routes
    authority.close()
    silent = {route.path for route in routes if isinstance(route, APIRoute)} - {r.path for r, _ in told_routes(routes)}
    assert silent == NO_DOCUMENTS, "put @told above the endpoint"
