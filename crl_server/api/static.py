"""The static tree: trust, lists, sets and the enrolment bundle, served as any web server would serve them.

A path is matched against the names that exist by design, never mapped onto the disk: what is not of one of these forms
is not there, whatever it decodes to. What hosts ask for most is held in memory (:mod:`crl_server.processes.shelf`) and
answered before the application with its layers is asked.
"""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from crl_server.api.edge import matches
from crl_server.lists.public_files import IMMUTABLE, ROUTE, PublicKind, file_headers, kind_of, tag_of, tags_of
from crl_server.lists.stamps import stamp_of
from crl_server.lists.wholeness import Wholeness
from crl_server.operating.instruments import Instruments
from crl_server.operating.request_context import Application, Receive, Scope, Send
from crl_server.processes.shelf import Asked, Shelf
from verifier.errors import Refused, UsageError

SMALL = 256 * 1024
"""Files of at most this size, in bytes, are read through without waiting for larger ones."""


class StaticTree:
    """Serves one directory.

    Args:
        root: the deployment's ``public`` directory.
        wholeness: tells which of its files are what they should be.
        instruments: count what is refused because it is not.
    """

    def __init__(self, root: Path, wholeness: Wholeness, instruments: Instruments) -> None:
        self._root, self._wholeness, self._instruments = root, wholeness, instruments
        self._large = asyncio.Lock()

    async def __call__(self, request: Request) -> Response:
        """Answer a GET or HEAD request, conditional ones included (RFC 9110 section 13).

        Raises:
            UsageError: ``request.unknown``.
            Refused: ``server.damaged``.
            Unreachable: ``io.failed``.
        """
        name = request.scope["path"].removeprefix("/")
        kind = kind_of(name)
        status = None if kind is None else await run_in_threadpool(_status, self._root / name)
        if kind is None or status is None:
            raise UsageError("request.unknown", "there is nothing at this address")
        if kind.caching != IMMUTABLE:
            return await _changing(self._root / name, kind, request)
        if not self._wholeness.vouches(name, stamp_of(status)):
            await self._check(name, status)
        return _fixed(self._root / name, kind, request, status)

    async def _check(self, name: str, status: os.stat_result) -> None:
        """Demand that a file is whole. Large ones are read through one at a time: those who ask for the same one wait
        for one reading of it, and in no thread.
        """
        async with self._large if status.st_size > SMALL else nullcontext():
            try:
                await run_in_threadpool(self._wholeness.check, name)
            except Refused:
                self._instruments.damaged.inc()
                raise


def _fixed(path: Path, kind: PublicKind, request: Request, status: os.stat_result) -> Response:
    """A file whose name says what is in it; it may be large, and is sent in pieces."""
    headers = file_headers(tag_of(path.name, kind), kind)
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=kind.media_type, stat_result=status)


async def _changing(path: Path, kind: PublicKind, request: Request) -> Response:
    """A file that is replaced now and then: read in one go, so that tag and content belong together."""
    data = await run_in_threadpool(path.read_bytes)
    headers = file_headers(tag_of(path.name, kind, data), kind)
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(len(data))}, media_type=kind.media_type)
    return Response(data, headers=headers, media_type=kind.media_type)


def _status(path: Path) -> os.stat_result | None:
    """The status of a file; None where there is none, nor for a link or a directory."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def with_shelf(application: Application, shelf: Shelf) -> Application:
    """The application, with the shelf in front of it: what that cannot answer goes on as it came."""
    route = SimpleNamespace(path=ROUTE)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope)
        answer = None if asked is None else shelf.answer(asked)
        if answer is None:
            await application(scope, receive, send)
            return
        scope["route"] = route
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    return serve


def _asked(scope: Scope) -> Asked | None:
    """What a request asks the shelf; None for a request that is none, or for a part of a file."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return None
    condition = b""
    for name, value in reversed(scope["headers"]):  # the first one counts, as everywhere in this service
        if name == b"if-none-match":
            condition = value
        elif name == b"range":
            return None
    name = scope["path"].removeprefix("/")
    return Asked(name, scope["method"] == "HEAD", tags_of(condition.decode("latin-1")))
