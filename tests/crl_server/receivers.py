"""A receiver of webhooks on loopback that fails as it is told to, and checks signatures by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from verifier.formats.strict_json import Document

Answer = Callable[[BaseHTTPRequestHandler], None]


class Heard(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)


def status(code: int, **headers: str) -> Answer:
    """Answer with this status."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def cut(request: BaseHTTPRequestHandler) -> None:
    """End the connection without an answer."""
    request.close_connection = True


class Receiver:
    """Takes events while inside its block.

    Attributes:
        heard: every request, in order.
        answers: how the next requests are answered; once they are used up, with 204.
        ended: set at the end, so that an answer that hangs can wait for it.
    """

    def __init__(self, *answers: Answer) -> None:
        self.heard: list[Heard] = []
        self.answers = list(answers)
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?key=hidden"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def hang(self, request: BaseHTTPRequestHandler) -> None:
        """Say nothing until the end."""
        self.ended.wait(60)
        request.close_connection = True

    def trickle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer byte by byte, without an end."""
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self.ended.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    @property
    def events(self) -> list[Any]:
        """What was heard, as events."""
        return [heard.event for heard in self.heard]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A sender that has hung up is what some tests are about."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.heard.append(Heard(self.path, headers, body))
            answer = receiver.answers.pop(0) if receiver.answers else status(204)
            answer(self)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


def signed_by(heard: Heard, secret: str) -> bool:
    """Whether a request is signed with a secret, by the words of Standard Webhooks alone."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{heard.headers['webhook-id']}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return any(given == f"v1,{expected}" for given in heard.headers["webhook-signature"].split())


class CloudEvent(Document, frozen=True, kw_only=True):
    """CloudEvents 1.0 in JSON, as the specification has it: these and nothing else."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: dict[str, Any]
