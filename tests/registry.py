"""A registry that answers each path as a test tells it, for commands that ask one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

TOKEN = "secret-token"
UNKNOWN = 404, b'{"code":"registry.unknown","what":"unknown"}'


class Registry(ThreadingHTTPServer):
    """Answers each path as it is told, and keeps what it was sent.

    Attributes:
        answers: status and body by path; one without a query is an answer to whatever is asked of it.
        tokens: the credentials of each request; empty where there were none.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.tokens: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def says(self, path: str, document: object) -> None:
        """Answer a path with a document from now on."""
        self.answers[path] = 200, json.dumps(document).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers.get("Authorization", ""))
        answers = self.server.answers
        status, body = answers.get(self.path) or answers.get(self.path.partition("?")[0]) or UNKNOWN
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Tests print nothing."""


@contextmanager
def registry_with_token(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that serves, and a token for it in the environment."""
    monkeypatch.setenv("LOADLOCK_TOKEN", TOKEN)
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
