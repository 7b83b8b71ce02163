"""A real HTTP server on the loopback interface that hands out a dictionary, and lies where a test tells it to."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Loopback:
    """Serves ``files`` (path without leading slash to bytes) with entity tags, over kept-alive connections.

    Attributes:
        files: what is served.
        lies: path to a function that answers instead.
        log: every request as (status, path), in order.
        posted: path, credentials and body of everything that was posted, which is answered with 202.
        sockets: every connection that was opened.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lies: dict[str, Answer] = {}
        self.log: list[tuple[int, str]] = []
        self.posted: list[tuple[str, str, bytes]] = []
        self.sockets: list[socket.socket] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        for connection in self.sockets:
            with contextlib.suppress(OSError):  # the other side may have hung up
                connection.shutdown(socket.SHUT_RDWR)

    def paths(self) -> list[str]:
        """The paths asked for since the last call."""
        asked = [path for _, path in self.log]
        self.log.clear()
        return asked


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests hang up on purpose."""


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer with this status and body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65_536

        def setup(self) -> None:
            super().setup()
            loopback.sockets.append(self.connection)

        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            lie = loopback.lies.get(path)
            if lie is not None:
                lie(self)
            elif path not in loopback.files:
                status(404)(self)
            else:
                data = loopback.files[path]
                tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
                known = self.headers.get("If-None-Match") == tag
                status(304 if known else 200, b"" if known else data, ETag=tag)(self)

        def do_POST(self) -> None:
            path = self.path.removeprefix("/")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            loopback.posted.append((path, self.headers.get("Authorization", ""), body))
            loopback.lies.get(path, status(202, b"{}"))(self)

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            loopback.log.append((int(code), self.path.removeprefix("/")))

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
