"""One call of the service's API: an answer, or the error that the service's problem document tells of (RFC 9457).

Used by commands that publish, revoke or ask the registry, and by hosts that acknowledge, never while a plugin loads.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verifier.addresses import split
from verifier.codes import CODES
from verifier.errors import FormatError, LoadlockError, Refused, Unreachable, UsageError
from verifier.files import read_capped
from verifier.formats.strict_json import dumps, loads

MAX_ANSWER = 1_000_000
"""Size cap of an answer in bytes."""
MAX_SENTENCE = 1_000
"""How many characters of one sentence of a problem document are shown."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
DEADLINE = 300.0
"""Seconds after which an answer that still trickles is given up."""
TOKEN = "LOADLOCK_TOKEN"
MAX_TOKEN = 4_096
"""Size cap of a token's file in bytes."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Fields = Mapping[str, tuple[str, bytes, str]]
"""Multipart fields: name to file name, content and media type."""


def post(
    server: str, path: str, token: str, *, document: object = None, fields: Fields | None = None, key: str = ""
) -> dict[str, Any]:
    """Send a JSON document or multipart fields, and return the JSON object that comes back.

    Args:
        server: the server's address; a token is sent over plain http to this machine alone.
        path: the resource below it, such as ``/v1/artifacts``.
        token: an API token.
        document: what is sent as JSON, unless ``fields`` are given.
        fields: what is sent as a form.
        key: an idempotency key; empty for none.

    Raises:
        UsageError: ``usage.configuration`` for an address that a token may not be sent to.
        Unreachable: ``unreachable.server``, or the server's own code when it could not do it.
        Refused: with the server's own code.
    """
    headers = {"Idempotency-Key": key} if key else {}
    headers |= {} if fields else {"Content-Type": "application/json"}
    body: dict[str, Any] = {"fields": dict(fields)} if fields else {"body": dumps(document)}
    return _object(_exchange("POST", checked_address(server) + path, token, headers, MAX_ANSWER, body), MAX_ANSWER)


def get(server: str, path: str, token: str, *, limit: int = MAX_ANSWER) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        server: the server's address; a token is sent over plain http to this machine alone.
        path: the resource below it.
        token: an API token.
        limit: size cap of the answer in bytes.

    Raises:
        UsageError, Unreachable, Refused: as :func:`post`; FormatError for an answer that is no JSON object.
    """
    return _object(_exchange("GET", checked_address(server) + path, token, {}, limit, {}), limit)


def fetch(server: str, path: str, token: str, *, limit: int = MAX_ANSWER) -> bytes:
    """Read what is no JSON object, as it is; arguments and errors as :func:`get`."""
    return _exchange("GET", checked_address(server) + path, token, {}, limit, {})


def _exchange(
    method: str, url: str, token: str, headers: Mapping[str, str], limit: int, body: Mapping[str, Any]
) -> bytes:
    import urllib3

    from verifier.refreshing.bounded import bounded, read_body
    from verifier.refreshing.no_answer import why

    end = time.monotonic() + DEADLINE
    sent = {"Authorization": f"Bearer {token}", "Accept": "application/json", **headers}
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            bounded(pool, DEADLINE)
            answer = pool.request(
                method, url, headers=sent, redirect=False, preload_content=False, decode_content=False, **body
            )
            with contextlib.closing(answer):
                data, status = read_body(answer, limit + 1, end), answer.status
    except (urllib3.exceptions.HTTPError, OSError) as error:
        found, todo = why(error)
        raise Unreachable(
            "unreachable.server", "the server did not answer", found=found, expected=f"an answer from {url}", todo=todo
        ) from error
    if status in (200, 201, 202):
        return data
    raise _error(status, data[:MAX_ANSWER])


def api_token(given: Path | str | None) -> str:
    """The API token: in the file given, else in ``$LOADLOCK_TOKEN``.

    Raises:
        UsageError: ``usage.configuration``.
    """
    if given:
        token = read_capped(Path(given), MAX_TOKEN, "the token").decode("utf-8", "replace").strip()
    else:
        token = os.environ.get(TOKEN, "")
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError(
            "usage.configuration", "no usable API token", expected=f"--token-file FILE or ${TOKEN}",
            todo="Have one made with 'loadlock token create'.",
        )  # fmt: skip
    return token


def checked_address(server: str) -> str:
    """The server's address without a slash at its end, if a token may be sent there.

    Raises:
        UsageError: ``usage.configuration``.
    """
    parts = split(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(
            "usage.configuration", "not a server's address", expected="https://HOST[:PORT][/PATH] without a user"
        )
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError("usage.configuration", "a token is not sent over plain http", found="http", expected="https")
    return server.rstrip("/")


def _object(data: bytes, limit: int) -> dict[str, Any]:
    value = loads(data, limit=limit, what="the server's answer")
    if not isinstance(value, dict):
        raise FormatError("format.schema", "the server's answer is not an object", found=type(value).__name__)
    return value


def _error(status: int, data: bytes) -> LoadlockError:
    try:
        told = {name: _plain(value) for name, value in _object(data, MAX_ANSWER).items() if isinstance(value, str)}
    except FormatError:
        told = {}
    code = told.get("code", "")
    if code not in CODES:
        kind: type[LoadlockError] = Unreachable if status >= 500 else Refused
        what = "the server could not do it" if status >= 500 else told.get("title") or "the server refused"
        code = "unreachable.server" if status >= 500 else "server.refused"
        return kind(code, what, found=told.get("detail") or f"HTTP status {status}")
    sentences = {name: told.get(name, "") for name in ("found", "expected", "todo")}
    return (Unreachable if status >= 500 else Refused)(code, told.get("what") or "the server refused", **sentences)


def _plain(text: str) -> str:
    """Text that cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_SENTENCE])
