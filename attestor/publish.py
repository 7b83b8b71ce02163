"""Hands a wheel and its attestation set to a server, which admits only what verifies under its policy."""

from __future__ import annotations

import hashlib
from typing import Any

from verifier.api_client import post


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
        Refused: with the server's own code; ``server.refused`` when it gave none that is known.
        Unreachable: ``unreachable.server``.
        UsageError: ``usage.configuration``: the address is not acceptable.
    """
    # The same upload has the same key: a repeated one, after a lost answer, changes nothing.
    key = hashlib.sha256(hashlib.sha256(wheel).digest() + hashlib.sha256(attestations).digest()).hexdigest()
    fields = {
        "wheel": (file_name, wheel, "application/octet-stream"),
        "attestations": (f"{file_name}.attestations.jsonl", attestations, "application/jsonl"),
    }
    return post(server, "/v1/artifacts", token, fields=fields, key=key)
