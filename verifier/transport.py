"""The reader's HTTP client: the only module of the reader that opens a connection, and never while a plugin loads.

Everything it fetches is public and is verified by its signature or digest afterwards; so it follows no redirect, sends
no credentials, and takes bodies as they come. Each request has a size cap and an end.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import urllib3
from urllib3.exceptions import HTTPError

from verifier.errors import FormatError, Unreachable, UsageError

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection."""
READ_TIMEOUT = 15.0
"""Seconds to wait for the next bytes."""
DEADLINE = 120.0
"""Seconds after which a body that still trickles is given up."""
ERROR_LIMIT = 65_536
"""Size cap, in bytes, of a body that comes with any other status than 200: it is read only to keep the connection."""
CHUNK = 65_536
"""How much to read at once, in bytes."""

_HEADERS = {"User-Agent": "loadlock", "Accept-Encoding": "identity"}


class Response(NamedTuple):
    """An answer: HTTP status, body (empty unless the status is 200), and entity tag if there was one."""

    status: int
    body: bytes
    etag: str | None


class Transport:
    """A connection to one server, kept alive between requests; a forked child gets a new one.

    Args:
        server: the server's address (``https://host.example``, perhaps with a path), without a trailing slash.
        deadline: seconds after which a body that still trickles is given up.

    Raises:
        UsageError: ``usage.arguments`` for an address of another scheme.
    """

    def __init__(self, server: str, *, deadline: float = DEADLINE) -> None:
        if not server.startswith(("https://", "http://")):
            raise UsageError(
                "usage.arguments", "not a server's address", found=repr(server[:200]), expected="https://…"
            )
        self.server = server.rstrip("/")
        self._deadline = deadline
        self._process = -1
        self._pool = self._connected()

    def request(self, path: str, limit: int, etag: str | None = None) -> Response:
        """GET ``path``, on the condition that its entity tag is no longer ``etag``.

        Args:
            path: what follows the server's address, with its leading slash.
            limit: size cap of the body in bytes.
            etag: the tag of what the caller has.

        Raises:
            Unreachable: ``unreachable.server``.
            FormatError: ``format.too-large``.
        """
        headers = _HEADERS | ({"If-None-Match": etag} if etag else {})
        url = f"{self.server}{path}"
        end = time.monotonic() + self._deadline
        try:
            response = self._connected().request(
                "GET", url, headers=headers, preload_content=False, decode_content=False
            )
            try:
                body = _read(response, limit if response.status == 200 else ERROR_LIMIT, end, path)
            except BaseException:
                response.close()  # what is left of the body must not be taken for the next answer
                raise
            response.release_conn()
        except (HTTPError, OSError) as error:
            raise _unreachable(self.server, f"{type(error).__name__} for {path}") from error
        return Response(response.status, body if response.status == 200 else b"", response.headers.get("ETag"))

    def get(self, path: str, limit: int, etag: str | None = None) -> Response:
        """As :meth:`request`, and demand the status 200, or 304 when an ``etag`` was given.

        Raises:
            Unreachable: ``unreachable.server``, also for every other status.
            FormatError: ``format.too-large``.
        """
        response = self.request(path, limit, etag)
        if response.status != 200 and not (etag and response.status == 304):
            raise _unreachable(self.server, f"status {response.status} for {path}")
        return response

    def _connected(self) -> urllib3.PoolManager:
        if self._process != os.getpid():  # a connection shared with the parent would mix up the answers of both
            self._process = os.getpid()
            retries = urllib3.Retry(total=1, redirect=0, status=0, raise_on_redirect=False, backoff_factor=0)
            timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
            self._pool = urllib3.PoolManager(maxsize=4, retries=retries, timeout=timeout)
        return self._pool


def _read(response: urllib3.BaseHTTPResponse, limit: int, end: float, path: str) -> bytes:
    body = bytearray()
    while chunk := response.read1(CHUNK):
        body += chunk
        if len(body) > limit:
            raise FormatError(
                "format.too-large", f"the server's {path} is too large", expected=f"at most {limit} bytes"
            )
        if time.monotonic() > end:
            raise TimeoutError("the body took too long")
    return bytes(body)


def _unreachable(server: str, found: str) -> Unreachable:
    return Unreachable("unreachable.server", f"{server} did not answer as it should", found=found)
