"""The reader's HTTP client: what opens connections for public files (its polls too), never while a plugin loads.

Everything it fetches is public and is verified by its signature or digest afterwards; so it follows no redirect, sends
no credentials, and takes bodies as they come. Each request has a size cap and an end. It goes by way of the proxy that
the environment names (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), which learns what is fetched and
can change nothing of it unnoticed. What runs on this machine itself is asked directly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import unquote
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util.url import Url, parse_url

from verifier.errors import FormatError, Unreachable, UsageError
from verifier.refreshing.bounded import CHUNK, bounded, bounded_pool, read_body
from verifier.refreshing.no_answer import why
from verifier.refreshing.poll import Poll
from verifier.refreshing.source import Response

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection."""
READ_TIMEOUT = 15.0
"""Seconds to wait for the next bytes."""
DEADLINE = 120.0
"""Seconds after which an answer is given up that still trickles: status and fields, and then a body with them."""
SILENCE = 60.0
"""Seconds without a byte after which a stream is given up; a server says something every 15."""
ERROR_LIMIT = 65_536
"""Size cap, in bytes, of a body that comes with any other status than 200: it is read only to keep the connection."""

_HEADERS = {"User-Agent": "loadlock", "Accept-Encoding": "identity"}


class Transport:
    """A connection to one server, kept alive between requests; a forked child gets a new one.

    Args:
        server: the server's address (``https://host.example``, perhaps with a path), without a trailing slash.
        deadline: seconds after which an answer that still trickles is given up.

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
        self._proxy = _proxy_of(self.server)
        self._base = self.server if self._proxy else ""
        self._process = -1
        self._pool: urllib3.PoolManager | urllib3.HTTPConnectionPool
        self._poll: Poll | None = None

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
        end = time.monotonic() + self._deadline
        try:
            pool = self._connected()
            polled = self._poll.ask(f"{self._base}{path}", etag, limit, end) if self._poll and etag else None
            if polled is not None:
                return polled
            response = pool.request(
                "GET", f"{self._base}{path}", headers=headers, preload_content=False, decode_content=False
            )
            try:
                body = _read(response, limit if response.status == 200 else ERROR_LIMIT, end, path)
            except BaseException:
                response.close()  # what is left of the body must not be taken for the next answer
                raise
            response.release_conn()
        except (HTTPError, OSError) as error:
            raise _unanswered(self.server, error, f"for {path}") from error
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

    def stream(self, path: str) -> Stream:
        """GET ``path``, whose answer does not end by itself.

        Raises:
            Unreachable: ``unreachable.server``, also for every other status than 200.
        """
        headers = _HEADERS | {"Accept": "text/event-stream"}
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=SILENCE)
        try:
            response = self._connected().request(
                "GET", f"{self._base}{path}", headers=headers, preload_content=False, decode_content=False,
                timeout=timeout, retries=False,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            raise _unanswered(self.server, error, f"for {path}") from error
        if response.status != 200:
            response.close()
            raise _unreachable(self.server, f"status {response.status} for {path}")
        return Stream(response, self.server)

    def _connected(self) -> urllib3.PoolManager | urllib3.HTTPConnectionPool:
        if self._process != os.getpid():  # a connection shared with the parent would mix up the answers of both
            self._process = os.getpid()
            retries = urllib3.Retry(total=1, redirect=0, status=0, raise_on_redirect=False, backoff_factor=0)
            timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
            proxy = self._proxy
            if proxy is None:
                # One server, one pool, asked by path alone: to look the pool up takes as long as to send a request.
                asked = parse_url(self.server)
                self._base = asked.path or ""
                self._pool = urllib3.connection_from_url(self.server, maxsize=4, retries=retries, timeout=timeout)
                bounded_pool(self._pool, self._deadline)
                self._poll = Poll(asked, _HEADERS, connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
            else:
                headers = urllib3.make_headers(proxy_basic_auth=unquote(proxy.auth) if proxy.auth else None)
                address = proxy._replace(auth=None).url
                manager = self._pool = urllib3.ProxyManager(
                    address, proxy_headers=headers, maxsize=4, retries=retries, timeout=timeout
                )
                bounded(manager, self._deadline)
        return self._pool


class Stream:
    """An answer that goes on until one of both sides ends it; made by :meth:`Transport.stream`."""

    def __init__(self, response: urllib3.BaseHTTPResponse, server: str) -> None:
        self._response = response
        self._server = server
        self._process = os.getpid()
        self._ended = False

    def lines(self, limit: int) -> Iterator[bytes]:
        """The lines as they come, without their ends, until :meth:`end` or the server's end of it.

        Args:
            limit: size cap of one line in bytes.

        Raises:
            Unreachable: ``unreachable.server`` when it breaks off or is silent for :data:`SILENCE` seconds.
            FormatError: ``format.too-large``.
        """
        pending = bytearray()
        while chunk := self._next():
            # Only what is new is looked through: a line may come a byte at a time.
            first, *others = chunk.split(b"\n")
            pending += first
            if max(map(len, [pending, *others])) > limit:
                raise FormatError(
                    "format.too-large", "a line of the server's stream is too large", expected=f"at most {limit} bytes"
                )
            for following in others:
                yield bytes(pending.removesuffix(b"\r"))
                pending = bytearray(following)

    def end(self) -> None:
        """End it, from any thread: whoever waits for lines gets no more. In a forked child it is the parent's."""
        if os.getpid() != self._process:
            return
        self._ended = True
        with suppress(OSError, HTTPError, ValueError):  # it has ended already
            self._response.shutdown()

    def close(self) -> None:
        """Let go of the connection; it serves no other request."""
        self._response.close()

    def _next(self) -> bytes:
        try:
            return b"" if self._ended else self._response.read1(CHUNK)
        except (HTTPError, OSError) as error:
            if self._ended:
                return b""
            raise _unanswered(self._server, error, "in the stream") from error


def _read(response: urllib3.BaseHTTPResponse, limit: int, end: float, path: str) -> bytes:
    body = read_body(response, limit + 1, end)
    if len(body) > limit:
        raise FormatError("format.too-large", f"the server's {path} is too large", expected=f"at most {limit} bytes")
    return body


def _proxy_of(server: str) -> Url | None:
    """The proxy by whose way the environment wants a server to be asked, if any.

    Raises:
        UsageError: ``usage.configuration`` for a proxy of another kind; what is shown is the kind, never the address,
            which may hold a password.
    """
    try:
        asked, proxies = parse_url(server), getproxies_environment()
    except LocationParseError:  # no address at all, which the request will say
        return None
    named = proxies.get(asked.scheme or "") or proxies.get("all")
    host = (asked.host or "").strip("[]")
    if not named or host == "localhost" or _is_loopback(host) or proxy_bypass_environment(asked.netloc or "", proxies):
        return None
    try:
        proxy = parse_url(named)
    except LocationParseError:
        proxy = Url()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise UsageError(
            "usage.configuration", "the environment names a proxy of an unknown kind", found=repr(proxy.scheme),
            expected="http://host:port or https://host:port", todo="Correct HTTPS_PROXY, or name it in NO_PROXY.",
        )  # fmt: skip
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _unreachable(server: str, found: str, todo: str = "") -> Unreachable:
    return Unreachable("unreachable.server", f"{server} did not answer as it should", found=found, todo=todo)


def _unanswered(server: str, error: Exception, where: str) -> Unreachable:
    found, todo = why(error)
    return _unreachable(server, f"{found} ({where})", todo)
