"""The static tree: trust, lists, sets and the enrolment bundle, served as any web server would serve them.

A path is matched against the names that exist by design, never mapped onto the disk: what is not of one of these forms
is not there, whatever it decodes to.
"""

from __future__ import annotations

import hashlib
import re
import stat
from pathlib import Path
from typing import NamedTuple

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from verifier.errors import UsageError

IMMUTABLE = "public, max-age=31536000, immutable"
"""For files whose name is their content's digest or version."""
REVALIDATE = "no-cache"
"""For files that change under one name: a cache has to ask each time."""

HEX = r"[0-9a-f]{64}"
VERSION = r"[1-9][0-9]{0,9}"
NAME = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"


class _Kind(NamedTuple):
    """A form of name, the media type of such files, and how they may be cached."""

    names: re.Pattern[str]
    media_type: str
    caching: str


KINDS = (
    _Kind(
        re.compile(r"enrolment\.json|lists/head\.json|trust/metadata/timestamp\.json"), "application/json", REVALIDATE
    ),
    _Kind(re.compile(rf"lists/(?:segments|bases)/{HEX}"), "application/octet-stream", IMMUTABLE),
    _Kind(re.compile(rf"lists/rules/{HEX}"), "application/json", IMMUTABLE),
    _Kind(
        re.compile(rf"trust/metadata/{VERSION}\.(?:root|targets|snapshot|checkpoints)\.json"),
        "application/json",
        IMMUTABLE,
    ),
    _Kind(
        re.compile(rf"trust/targets/(?:{HEX}\.(?:policy|trusted_root\.{NAME})|checkpoints/{HEX}\.checkpoint)\.json"),
        "application/json",
        IMMUTABLE,
    ),
    _Kind(re.compile(rf"sets/{HEX}\.jsonl"), "application/jsonl", REVALIDATE),
)


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
        kind = next((kind for kind in KINDS if kind.names.fullmatch(path)), None)
        if kind is None or not await run_in_threadpool(_is_file, self._root / path):
            raise UsageError("request.unknown", "there is nothing at this address")
        return await (_fixed if kind.caching == IMMUTABLE else _changing)(self._root / path, kind, request)


async def _fixed(path: Path, kind: _Kind, request: Request) -> Response:
    """A file whose name says what is in it; it may be large, and is sent in pieces."""
    headers = _headers(path.name, kind)
    if _matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=kind.media_type)


async def _changing(path: Path, kind: _Kind, request: Request) -> Response:
    """A file that is replaced now and then: read in one go, so that tag and content belong together."""
    data = await run_in_threadpool(path.read_bytes)
    headers = _headers(hashlib.sha256(data).hexdigest(), kind)
    if _matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(len(data))}, media_type=kind.media_type)
    return Response(data, headers=headers, media_type=kind.media_type)


def _headers(tag: str, kind: _Kind) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": kind.caching, "X-Content-Type-Options": "nosniff"}


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _matches(request: Request, tag: str) -> bool:
    header = request.headers.get("if-none-match", "")
    return header.strip() == "*" or tag in (given.strip().removeprefix("W/") for given in header.split(","))
