"""The static tree: trust, lists, sets and the enrolment bundle, served as any web server would serve them.

A path is matched against the names that exist by design, never mapped onto the disk: what is not of one of these forms
is not there, whatever it decodes to.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from crl_server.api.edge import matches
from crl_server.public_files import IMMUTABLE, PublicKind, kind_of
from verifier.errors import UsageError


class StaticTree:
    """Serves one directory.

    Args:
        root: the deployment's ``public`` directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def __call__(self, request: Request) -> Response:
        """Answer a GET or HEAD request, conditional ones included (RFC 9110 section 13).

        Raises:
            UsageError: ``request.unknown``.
        """
        path = request.scope["path"].removeprefix("/")
        kind = kind_of(path)
        if kind is None or not await run_in_threadpool(_is_file, self._root / path):
            raise UsageError("request.unknown", "there is nothing at this address")
        return await (_fixed if kind.caching == IMMUTABLE else _changing)(self._root / path, kind, request)


async def _fixed(path: Path, kind: PublicKind, request: Request) -> Response:
    """A file whose name says what is in it; it may be large, and is sent in pieces."""
    headers = _headers(path.name, kind)
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=kind.media_type)


async def _changing(path: Path, kind: PublicKind, request: Request) -> Response:
    """A file that is replaced now and then: read in one go, so that tag and content belong together."""
    data = await run_in_threadpool(path.read_bytes)
    headers = _headers(hashlib.sha256(data).hexdigest(), kind)
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(len(data))}, media_type=kind.media_type)
    return Response(data, headers=headers, media_type=kind.media_type)


def _headers(tag: str, kind: PublicKind) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": kind.caching, "X-Content-Type-Options": "nosniff"}


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
