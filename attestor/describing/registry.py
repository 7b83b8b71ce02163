"""What a server's registry knows of a plugin's earlier releases: it says which there are, signatures say the rest."""

from __future__ import annotations

from typing import Any

from verifier.errors import Refused, Unreachable
from verifier.formats.dsse import MAX_SET
from verifier.formats.text import Digest, PluginId
from verifier.refreshing.api_client import get
from verifier.refreshing.transport import Transport

MAX_LISTING = 16 * 1024 * 1024
"""Size cap of the list of a plugin's artifacts in bytes."""


def previous_set(server: str, token: str, plugin: PluginId, artifact: Digest) -> tuple[Digest, bytes] | None:
    """The attestation set of the release that was admitted last, leaving out ``artifact`` itself and what is revoked.

    Args:
        server: the server's address.
        token: an API token of any role.
        plugin: the plugin.
        artifact: the release that an earlier one is looked for.

    Returns:
        The earlier artifact and its set, not verified; None when the registry knows of none.

    Raises:
        UsageError: ``usage.configuration``; Unreachable: ``unreachable.server``; Refused: with the server's code.
    """
    try:
        # The last thousand: an older one that none of them follows unrevoked is no precedent to compare with.
        listing = get(server, f"/v1/plugins/{plugin}?limit=1000", token, limit=MAX_LISTING)
    except Refused as refusal:
        if refusal.code == "registry.unknown":
            return None
        raise
    earlier = next((found for row in _rows(listing) if (found := _standing(row)) not in (None, artifact)), None)
    return None if earlier is None else (earlier, _set_of(server, earlier))


def _rows(listing: dict[str, Any]) -> list[Any]:
    rows = listing.get("artifacts")
    return rows if isinstance(rows, list) else []


def _standing(row: Any) -> Digest | None:
    """The digest of a listed artifact, unless it is revoked."""
    if not isinstance(row, dict) or row.get("revoked") != []:
        return None
    try:
        return Digest(str(row.get("digest")))
    except ValueError as error:
        raise Refused("server.refused", "the server's answer is not a list of artifacts", found=str(error)) from error


def _set_of(server: str, artifact: Digest) -> bytes:
    response = Transport(server).request(f"/sets/{artifact.hex}.jsonl", MAX_SET)
    if response.status != 200:
        raise Unreachable(
            "unreachable.server", "the server did not hand out an attestation set", found=f"status {response.status}"
        )
    return response.body
