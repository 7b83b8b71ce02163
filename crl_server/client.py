"""The API from the command line's side: one write, its answer or the server's refusal."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

from verifier.codes import CODES
from verifier.errors import FormatError, LoadlockError, Refused, Unreachable, UsageError
from verifier.formats.strict_json import dumps, loads

MAX_ANSWER = 1_000_000
"""Size cap of an answer in bytes."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def post(server: str, path: str, token: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Send a JSON document, and return the JSON object that comes back.

    Args:
        server: the server's address; a token is sent over plain http to this machine alone.
        path: below it.
        token: an API token.
        body: what is sent.
        key: an idempotency key; empty for none.

    Raises:
        UsageError: ``usage.configuration`` for an address that a token may not be sent to.
        Unreachable: ``unreachable.server``.
        Refused: with the server's own code.
    """
    import urllib3

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers |= {"Idempotency-Key": key} if key else {}
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            answer = pool.request(
                "POST",
                _address(server) + path,
                body=dumps(body),
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            with contextlib.closing(answer):
                data, status = answer.read(MAX_ANSWER + 1), answer.status
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable("unreachable.server", "the server did not answer", found=type(error).__name__) from error
    if status in (200, 201):
        return _object(data)
    raise _refusal(status, data)


def _address(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError("usage.configuration", "not a server's address", expected="https://HOST[:PORT][/PATH]")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError("usage.configuration", "a token is not sent over plain http", found="http", expected="https")
    return server.rstrip("/")


def _object(data: bytes) -> dict[str, Any]:
    value = loads(data, limit=MAX_ANSWER, what="the server's answer")
    if not isinstance(value, dict):
        raise FormatError("format.schema", "the server's answer is not an object", found=type(value).__name__)
    return value


def _refusal(status: int, data: bytes) -> LoadlockError:
    """The error that a problem document (RFC 9457) tells of."""
    try:
        told = {name: value for name, value in _object(data).items() if isinstance(value, str)}
    except FormatError:
        told = {}
    code = told.get("code", "")
    if code not in CODES:
        return Unreachable("unreachable.server", "the server could not do it", found=f"HTTP status {status}")
    sentences = {name: _plain(told.get(name, "")) for name in ("found", "expected", "todo")}
    kind = Unreachable if status >= 500 else Refused
    return kind(code, _plain(told.get("what", "")) or "the server refused", **sentences)


def _plain(text: str) -> str:
    """Text that cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:1000])
