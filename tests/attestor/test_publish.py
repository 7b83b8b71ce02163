"""Publishing, against a real server on loopback that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from attestor.publish import publish
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.refreshing import api_client as module


class Registry(ThreadingHTTPServer):
    """Answers each upload with ``status`` and ``body``; keeps what it was sent."""

    status = 201
    body = b'{"digest":"sha256:00"}'
    location = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *arguments: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(server: str, token: str = "secret-token") -> dict[str, object]:
    return publish(server, token, b"WHEEL", "p-1.0-py3-none-any.whl", b"SET\n")


def error_of(server: str) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        send(server)
    assert "secret-token" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "http://host.example",
        "ftp://host.example",
        "host.example",
        "https://user:secret@host.example",
        "https://host.example?x=1",
        "https://host.example#x",
        "https://",
    ],
)
def test_addresses_that_would_lose_the_token_are_refused(address: str) -> None:
    error = error_of(address)
    assert isinstance(error, UsageError)
    assert error.code == "usage.configuration"


def test_a_refusal_keeps_the_servers_code_and_words(registry: Registry) -> None:
    registry.status = 422
    registry.body = json.dumps(
        {"type": "about:blank", "title": "Refused", "status": 422, "code": "sbom.digest", "what": "the SBOM differs",
         "found": "a\x1b[31m", "expected": "b", "todo": "attest again"}
    ).encode()  # fmt: skip
    error = error_of(registry.url)
    assert isinstance(error, Refused)
    assert (error.code, error.what, error.expected, error.todo) == (
        "sbom.digest", "the SBOM differs", "b", "attest again",
    )  # fmt: skip
    assert "\x1b" not in error.found


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, b"not json", Refused, "server.refused"),
        (401, b'{"title":"who?"}', Refused, "server.refused"),
        (403, b'{"code":"made.up"}', Refused, "server.refused"),
        (403, b'{"code":7,"detail":[1]}', Refused, "server.refused"),
        (409, b'["list"]', Refused, "server.refused"),
        (302, b"", Refused, "server.refused"),
        (503, b"<html>", Unreachable, "unreachable.server"),
        (201, b"not json", LoadlockError, "format.syntax"),
        (200, b"[]", LoadlockError, "format.schema"),
    ],
)
def test_whatever_is_answered_becomes_one_clear_error(
    registry: Registry, status: int, body: bytes, kind: type[LoadlockError], code: str
) -> None:
    registry.status, registry.body = status, body
    error = error_of(registry.url)
    assert isinstance(error, kind)
    assert error.code == code


def test_redirects_are_not_followed_with_the_token(registry: Registry) -> None:
    registry.status, registry.location = 307, f"{registry.url}/elsewhere"
    assert error_of(registry.url).code == "server.refused"
    assert len(registry.seen) == 1


def test_an_endless_answer_is_cut_off(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 100)
    registry.body = b" " * 10_000
    assert error_of(registry.url).code == "format.too-large"


def test_no_server_is_unreachable() -> None:
    with Registry() as server:
        url = server.url
    error = error_of(url)
    assert isinstance(error, Unreachable)
    assert error.code == "unreachable.server"


def test_wheel_and_set_arrive_with_token_and_a_key_against_repetition(registry: Registry) -> None:
    assert send(registry.url + "/") == {"digest": "sha256:00"}
    send(registry.url)
    (path, headers, body), (_, again, _) = registry.seen
    assert path == "/v1/artifacts"
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Idempotency-Key"] == again["Idempotency-Key"]
    for part in (b'name="wheel"; filename="p-1.0-py3-none-any.whl"', b"WHEEL", b'name="attestations"', b"SET\n"):
        assert part in body
