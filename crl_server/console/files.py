"""The style sheet and the scripts that go with the pages: a closed set, read when the server starts."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from crl_server.console.desk import Desk
from crl_server.lists.public_files import IMMUTABLE, REVALIDATE
from verifier.errors import UsageError


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the files."""

    @console.get("/static/{name}")
    async def asset(request: Request, name: str, v: str = "") -> Response:
        found = desk.assets.get(name)
        if found is None:
            raise UsageError("request.unknown", "there is nothing at this address")
        tag = f'"{found.version}"'
        headers = {"ETag": tag, "Cache-Control": IMMUTABLE if v == found.version else REVALIDATE}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers, media_type=found.media_type)
