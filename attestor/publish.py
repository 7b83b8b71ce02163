"""Hands a wheel and its attestation set to a server, which admits only what verifies under its policy."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any
from urllib.parse import urlsplit

from verifier.codes import CODES
from verifier.errors import FormatError, LoadlockError, Refused, Unreachable, UsageError
from verifier.formats.strict_json import loads

#: The server's answer may not be larger than this.
MAX_ANSWER = 1_000_000
#: How long to wait for a connection, and for the answer, in seconds.
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def publish(server: str, token: str, wheel: bytes, file_name: str, attestations: bytes) -> dict[str, Any]:
    """Upload a wheel and its set.

    Args:
        server: the server's base address; plain http only to this machine.
        token: an API token with the role of a publisher.
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: its attestation set.

    Returns:
        The server's answer.

    Raises:
        Refused: with the server's own code; ``publish.refused`` when it gave none that is known.
        Unreachable: ``unreachable.server``.
        UsageError: ``usage.configuration``: the address is not acceptable.
    """
    import urllib3

    url = _endpoint(server)
    # The same upload has the same key: a repeated one, after a lost answer, changes nothing.
    key = hashlib.sha256(hashlib.sha256(wheel).digest() + hashlib.sha256(attestations).digest()).hexdigest()
    fields = {
        "wheel": (file_name, wheel, "application/octet-stream"),
        "attestations": (f"{file_name}.attestations.jsonl", attestations, "application/jsonl"),
    }
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            answer = pool.request(
                "POST",
                url,
                fields=fields,
                headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key, "Accept": "application/json"},
                redirect=False,
                preload_content=False,
            )
            with contextlib.closing(answer):
                body = answer.read(MAX_ANSWER + 1)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(
            "unreachable.server",
            "the server did not answer",
            found=type(error).__name__,
            expected=f"an answer from {url}",
        ) from error
    if answer.status in {200, 201}:
        return _object(body)
    raise _refusal(answer.status, body)


def _endpoint(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(
            "usage.configuration", "not a server's address", expected="https://HOST[:PORT][/PATH] without a user"
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise UsageError("usage.configuration", "a token is not sent over plain http", found="http", expected="https")
    return f"{server.rstrip('/')}/v1/artifacts"


def _object(body: bytes) -> dict[str, Any]:
    value = loads(body, limit=MAX_ANSWER, what="the server's answer")
    if not isinstance(value, dict):
        raise FormatError("format.schema", "the server's answer is not an object", found=type(value).__name__)
    return value


def _refusal(status: int, body: bytes) -> LoadlockError:
    """A problem document (RFC 9457) as the error that it stands for."""
    try:
        problem = _object(body)
    except FormatError:
        problem = {}
    code = problem.get("code")
    if status >= 500 and code not in CODES:
        return Unreachable("unreachable.server", "the server could not do it", found=f"HTTP status {status}")
    return Refused(
        code if isinstance(code, str) and code in CODES else "publish.refused",
        _text(problem, "what") or _text(problem, "title") or "the server refused the upload",
        found=_text(problem, "found") or _text(problem, "detail") or f"HTTP status {status}",
        expected=_text(problem, "expected"),
        todo=_text(problem, "todo"),
    )


def _text(problem: dict[str, Any], field: str) -> str:
    """A field of the problem for a person: text alone, bounded, unable to steer a terminal."""
    value = problem.get(field)
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value[:1000])
