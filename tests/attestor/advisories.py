"""Advisories for the tests: in the OSV format, as files of a database, and from a real service on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODIFIED = "2026-01-30T12:00:00Z"
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
MEDIUM = "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"


def advisory(name: str = "X-1", package: str = "alpha", **fields: Any) -> dict[str, Any]:
    """An advisory about versions of ``package`` from 1.0 on and before 2.1; None leaves a field out."""
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"fixed": "2.1"}]}],
    }
    made = {
        "schema_version": "1.7.0",
        "id": name,
        "modified": MODIFIED,
        "aliases": [],
        "summary": "It does what it should not.",
        "affected": [affected],
        "severity": [{"type": "CVSS_V3", "score": CRITICAL}],
        **fields,
    }
    return {key: value for key, value in made.items() if value is not None}


def ranged(*events: tuple[str, str], package: str = "alpha", kind: str = "ECOSYSTEM") -> list[dict[str, Any]]:
    """What is affected: one range of these events."""
    events_of = [{name: version} for name, version in events]
    return [
        {"package": {"ecosystem": "PyPI", "name": package}, "ranges": [{"type": kind, "events": events_of}]},
    ]


def write(place: Path, files: Mapping[str, Any]) -> Path:
    """A database: names to advisories, or to bytes as they are."""
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return place


Reply = Callable[[BaseHTTPRequestHandler], None]


class Service(ThreadingHTTPServer):
    """An OSV service: answers each query with the advisories of that package, or as ``reply`` does."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, advisories: Mapping[str, list[dict[str, Any]]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.advisories = advisories
        self.reply: Reply | None = None
        self.queries: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/query"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests hang up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.queries.append(query)
        if self.server.reply is not None:
            self.server.reply(self)
            return
        found = self.server.advisories.get(query["package"]["name"], [])
        answer(self, 200, json.dumps({"vulns": found} if found else {}).encode())

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer a request."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving(advisories: Mapping[str, list[dict[str, Any]]]) -> Iterator[Service]:
    """A service on loopback, for as long as the block lasts."""
    with Service(advisories) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()
