"""Whoever publishes a revocation list: real keys, real signatures, and every file by its digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.verifier.formats.vectors import VECTORS
from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.policy import Policy, policy_of
from verifier.formats.revocations import (
    EMPTY_RULES,
    Checkpoint,
    dump_set_file,
    parse_checkpoint,
    prefix_of,
    sha256_hex,
)
from verifier.formats.text import Hex, Time
from verifier.revocation.revocations import FileKind
from verifier.signatures.keys import PublicKey

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"h" * 32)
P256 = ec.derive_private_key(11, ec.SECP256R1())
STRANGER = ed25519.Ed25519PrivateKey.from_private_bytes(b"s" * 32)
KEYS: tuple[Private, ...] = (ED25519, P256, STRANGER)
IDS = {key: PublicKey(key.public_key()).id for key in KEYS}
POLICY = next(json.loads(vector.valid) for vector in VECTORS if vector.format == "policy")

Change = Callable[[dict[str, Any]], object]


def digest(number: int) -> Hex:
    return sha256_hex(number.to_bytes(4, "big"))


def policy(**ends: datetime) -> Policy:
    """A policy of the deployment acme with two head keys; ``ends`` moves the end of one."""
    keys: dict[str, Private] = {"ed25519": ED25519, "p256": P256}
    return policy_of(
        POLICY
        | {
            "keys": {
                IDS[key]: {"alg": entry.alg, "spki": entry.spki}
                for key in keys.values()
                for entry in [PublicKey(key.public_key()).entry]
            },
            "head_keys": [
                {"key": IDS[key], "not_after": Time.of(ends.get(name, NOW + 100 * HOUR))} for name, key in keys.items()
            ],
            "principals": {},
            "plugins": {},
        }
    )


@dataclass(frozen=True)
class Ground:
    """Verified trust, as the rules see it."""

    policy: Policy
    checkpoint: Checkpoint
    root_version: int = 3
    targets_version: int = 41


@dataclass
class Publisher:
    """Whoever publishes: makes checkpoints, rules, segments and signed heads, and hands files out by their digest.

    Attributes:
        asked: every file that was asked for, by kind.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, kind: FileKind, name: Hex) -> bytes:
        self.asked.append(kind)
        return self.files[kind, name]

    def keep(self, kind: str, data: bytes) -> Hex:
        self.files[kind, sha256_hex(data)] = data
        return sha256_hex(data)

    def segment(self, first: int, last: int, numbers: Sequence[int]) -> dict[str, Any]:
        data = dump_set_file(prefix_of(digest(number)) for number in numbers)
        return {"from": first, "to": last, "count": len(data) // 16, "sha256": self.keep("segments", data)}

    def rules(self, *ids: int, **changes: Any) -> dict[str, Any]:
        rules = [
            {"id": f"R{number}", "kind": "signer", "match": {"key": "x"}, "reason": "malicious"} | changes
            for number in ids
        ]
        data = json.dumps({"v": 1, "rules": rules}).encode() if ids else EMPTY_RULES
        return {"sha256": self.keep("rules", data), "count": len(ids)}

    def checkpoint(self, base: Sequence[int] = (), **changes: Any) -> Checkpoint:
        data = dump_set_file(prefix_of(digest(number)) for number in base)
        document = {
            "v": 1,
            "deployment": "acme",
            "epoch": 7,
            "through": 10,
            "root": self.keep("bases", data),
            "count": len(data) // 16,
            "rules": self.rules()["sha256"],
            "removed": [],
            "removed_rules": [],
            "carry": 1,
            "audit": {"count": 0, "sha256": "0" * 64},
        }
        return parse_checkpoint(json.dumps(document | changes).encode())

    def head(
        self, segments: Sequence[dict[str, Any]], *, change: Change | None = None, **changes: Any
    ) -> dict[str, Any]:
        document = {
            "v": 1,
            "deployment": "acme",
            "epoch": 7,
            "seq": segments[-1]["to"] if segments else 10,
            "issued": Time.of(NOW),
            "expires": Time.of(NOW + 24 * HOUR),
            "trust": {"root": 3, "targets": 41},
            "segments": list(segments),
            "rules": self.rules(),
            "audit": {"count": 0, "sha256": "0" * 64},
        } | changes
        if change:
            change(document)
        return document


def signed(head: dict[str, Any], *keys: Private, payload_type: str = dsse.HEAD) -> bytes:
    payload = json.dumps(head).encode()
    message = dsse.pae(payload_type, payload)
    signatures = tuple(
        dsse.Signature(
            keyid=IDS[key],
            sig=key.sign(message, ec.ECDSA(hashes.SHA256()))
            if isinstance(key, ec.EllipticCurvePrivateKey)
            else key.sign(message),
        )
        for key in keys or (ED25519,)
    )
    return dsse.dump_envelope(
        dsse.Envelope(payload_type=payload_type, unverified_payload=payload, signatures=signatures)
    )


def code(call: Callable[[], object]) -> str:
    """The code that ``call`` is refused with."""
    with pytest.raises(Refused) as caught:
        call()
    assert str(caught.value).replace("\n", "").isprintable()
    return caught.value.code
