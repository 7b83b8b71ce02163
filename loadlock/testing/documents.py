"""A small deployment's documents: its policy, its checkpoints and its signed heads, with the clock as an argument."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verifier.formats import dsse, strict_json
from verifier.formats.policy import dump_policy, policy_of
from verifier.formats.revocations import EMPTY_RULES, EMPTY_SET, dump_set_file, prefix_of
from verifier.formats.text import Hex, Time
from verifier.signatures.keys import PublicKey

DEPLOYMENT = "acme"
HEAD_LIFE = timedelta(hours=6)


def sha256(data: bytes) -> str:
    """The sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Documents:
    """The documents of one deployment, with one head key.

    Attributes:
        files: every segment, base and rules file made so far, by (kind, sha256).
        default_rules: the sha256 and the number of the standing rules that heads name.
    """

    def __init__(self, deployment: str = DEPLOYMENT) -> None:
        self.deployment = deployment
        self.head_key = Ed25519PrivateKey.generate()
        self.files: dict[tuple[str, str], bytes] = {}
        self.keep("bases", EMPTY_SET)
        self.default_rules = (self.keep("rules", EMPTY_RULES), 0)

    def keep(self, kind: str, data: bytes) -> str:
        """Keep a file under its sha256, which is handed back."""
        self.files[kind, sha256(data)] = data
        return sha256(data)

    def policy(self, now: datetime, *, version: int = 1, life: timedelta = timedelta(days=30)) -> bytes:
        """A policy without plugins that names the head key."""
        key = PublicKey(self.head_key.public_key())
        until = Time.of(now + life)
        value = {
            "v": 1,
            "deployment": self.deployment,
            "version": version,
            "valid_until": until,
            "profile": "production",
            "host_api": "1.0",
            "keys": {key.id: strict_json.plain(key.entry)},
            "head_keys": [{"key": key.id, "not_after": until}],
            "principals": {},
            "plugins": {},
            "certifiers": {},
            "tiers": {"core": {"isolation": "in-process", "require": ["provenance"]}},
        }
        return dump_policy(policy_of(strict_json.plain(value)))

    def checkpoint(
        self,
        *,
        epoch: int = 1,
        through: int = 0,
        revoked: Iterable[str] = (),
        removed: Iterable[str] = (),
        **more: object,
    ) -> bytes:
        """A checkpoint whose base holds the digests ``revoked``."""
        base = dump_set_file(prefix_of(Hex(digest)) for digest in revoked)
        document = {
            "v": 1,
            "deployment": self.deployment,
            "epoch": epoch,
            "through": through,
            "root": self.keep("bases", base),
            "count": len(base) // 16,
            "rules": sha256(EMPTY_RULES),
            "removed": list(removed),
            "removed_rules": [],
            "carry": 1,
            "audit": {"count": 0, "sha256": "0" * 64},
        }
        return strict_json.dumps(document | more)

    def head(
        self,
        now: datetime,
        *,
        epoch: int = 1,
        first: int = 1,
        revoked: Sequence[str] = (),
        life: timedelta = HEAD_LIFE,
        root: int = 1,
        targets: int = 1,
        **more: object,
    ) -> bytes:
        """A signed head whose one segment holds the digests ``revoked``, one event each."""
        seq = first - 1 + len(revoked)
        segments = []
        if revoked:
            data = dump_set_file(prefix_of(Hex(digest)) for digest in revoked)
            segments.append({"from": first, "to": seq, "count": len(data) // 16, "sha256": self.keep("segments", data)})
        document = {
            "v": 1,
            "deployment": self.deployment,
            "epoch": epoch,
            "seq": seq,
            "issued": Time.of(now),
            "expires": Time.of(now + life),
            "trust": {"root": root, "targets": targets},
            "segments": segments,
            "rules": {"sha256": self.default_rules[0], "count": self.default_rules[1]},
            "audit": {"count": 0, "sha256": "0" * 64},
        }
        return self.sign(strict_json.dumps(document | more))

    def sign(self, payload: bytes, payload_type: str = dsse.HEAD) -> bytes:
        """The payload in an envelope signed with the head key."""
        signature = self.head_key.sign(dsse.pae(payload_type, payload))
        return envelope(payload_type, payload, {"": signature})


def envelope(payload_type: str, payload: bytes, signatures: Mapping[str, bytes]) -> bytes:
    """An envelope with these signatures by key id, whatever they are worth."""
    signed = tuple(dsse.Signature(keyid=keyid, sig=signature) for keyid, signature in signatures.items())
    return dsse.dump_envelope(dsse.Envelope(payload_type=payload_type, unverified_payload=payload, signatures=signed))
