"""The signature log in both generations: v1 promises inclusion and states a time, v2 does neither."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from typing import Any

import rfc8785

from tests.sigstore.keys import ServiceKey, b64, sha256
from tests.sigstore.merkle import Tree


class Log:
    """What both generations share: a key, a tree, and signed checkpoints (C2SP tlog-checkpoint).

    Args:
        address: the log's base address; the checkpoints' origin is that without its scheme.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.key = ServiceKey()
        self._tree = Tree()
        self._lock = threading.Lock()

    def _append(self, body: bytes) -> tuple[int, int, bytes, list[bytes], str]:
        with self._lock:
            index, size, root, path = self._tree.append(body)
        origin = self.address.partition("//")[2]
        note = f"{origin}\n{size}\n{b64(root)}\n"
        signature = b64(self.key.id[:4] + self.key.sign(note.encode()))
        return index, size, root, path, f"{note}\n\N{EM DASH} {origin} {signature}\n"


class Rekor1(Log):
    """Rekor v1: entries of kind ``dsse`` 0.0.1, with a signed entry timestamp."""

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """``POST /api/v1/log/entries``."""
        proposed = request["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        spec: Any = {
            "envelopeHash": {"algorithm": "sha256", "value": sha256(proposed["envelope"].encode()).hex()},
            "payloadHash": {"algorithm": "sha256", "value": sha256(base64.b64decode(envelope["payload"])).hex()},
            "signatures": [
                {"signature": entry["sig"], "verifier": proposed["verifiers"][0]} for entry in envelope["signatures"]
            ],
        }
        body = rfc8785.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        index, size, root, path, checkpoint = self._append(body)
        entry: dict[str, Any] = {
            "body": b64(body),
            "integratedTime": int(time.time()),
            "logID": self.key.id.hex(),
            "logIndex": index,
        }
        promise = b64(self.key.sign(rfc8785.dumps(entry)))
        proof = {
            "logIndex": index,
            "treeSize": size,
            "rootHash": root.hex(),
            "hashes": [sibling.hex() for sibling in path],
            "checkpoint": checkpoint,
        }
        verification = {"signedEntryTimestamp": promise, "inclusionProof": proof}
        return {secrets.token_hex(32): entry | {"verification": verification}}


class Rekor2(Log):
    """Rekor v2: entries of kind ``hashedrekord`` 0.0.2 over the envelope's pre-authentication encoding."""

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """``POST /api/v2/log/entries``."""
        asked = request["hashedRekordRequestV002"]
        data = {"algorithm": "SHA2_256", "digest": asked["digest"]}
        spec = {"hashedRekordV002": {"data": data, "signature": asked["signature"]}}
        body = rfc8785.dumps({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec})
        index, size, root, path, checkpoint = self._append(body)
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.key.id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "canonicalizedBody": b64(body),
            "inclusionProof": {
                "logIndex": str(index),
                "treeSize": str(size),
                "rootHash": b64(root),
                "hashes": [b64(sibling) for sibling in path],
                "checkpoint": {"envelope": checkpoint},
            },
        }
