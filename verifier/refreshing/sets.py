"""Fetching attestation sets, when plugins are installed or synchronised."""

from __future__ import annotations

from pathlib import Path

from verifier.deployment.home import Home
from verifier.errors import Refused, Unreachable
from verifier.files import write_atomic
from verifier.formats.bundle import parse_set
from verifier.formats.dsse import MAX_SET
from verifier.refreshing.source import Source
from verifier.refreshing.transport import Transport


def fetch_set(home: Home, sha256: str, source: Source | None = None) -> Path:
    """Fetch the attestation set of the wheel with that digest (64 hexadecimal digits) into the host's directory, from
    its server or from ``source``.

    The set is only read for its form here; what it says is judged by verification, each time.

    Raises:
        Refused: ``set.missing`` when the server has none; ``format.*``, ``set.count``.
        Unreachable: ``unreachable.server``, ``io.failed``.
    """
    target = home.set_path(sha256)
    response = (source or Transport(home.host.server)).request(f"/sets/{sha256}.jsonl", MAX_SET)
    if response.status == 404:
        raise Refused("set.missing", "the server has no attestation set for this wheel", found=f"sha256:{sha256}")
    if response.status != 200:
        raise Unreachable(
            "unreachable.server", "the server did not hand out the attestation set", found=f"status {response.status}"
        )
    parse_set(response.body)
    write_atomic(target, response.body)
    return target
