"""Hands a wheel and its attestation set to a server, which admits only what verifies under its policy."""

from __future__ import annotations

import hashlib
from typing import Any

from verifier.refreshing.api_client import post


def publish(
    server: str, token: str, wheel: bytes, file_name: str, attestations: bytes, chain: bytes = b""
) -> dict[str, Any]:
    """Upload a wheel and its set.

    Args:
        server: the server's base address; plain http only to this machine.
        token: an API token with the role of a publisher.
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: its attestation set.
        chain: its in-toto layout and links, where the policy names a layout.

    Returns:
        The server's answer.

    Raises:
        Refused: with the server's own code; ``server.refused`` when it gave none that is known.
        Unreachable: ``unreachable.server``.
        UsageError: ``usage.configuration``: the address is not acceptable.
    """
    # The same upload has the same key: a repeated one, after a lost answer, changes nothing.
    parts = (wheel, attestations, chain) if chain else (wheel, attestations)
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    fields = {
        "wheel": (file_name, wheel, "application/octet-stream"),
        "attestations": (f"{file_name}.attestations.jsonl", attestations, "application/jsonl"),
    }
    if chain:
        fields["chain"] = (f"{file_name}.chain.jsonl", chain, "application/jsonl")
    return post(server, "/v1/artifacts", token, fields=fields, key=key)
