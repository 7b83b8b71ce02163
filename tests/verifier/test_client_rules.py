"""The client's rules for one list after another, by vectors that any implementation can be held to."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.project.tree import ROOT
from verifier.deployment.home import Seen, seen_by
from verifier.deployment.trust import Trust
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats import dsse
from verifier.formats.enrolment import Floor
from verifier.formats.policy import policy_of
from verifier.formats.revocations import dump_set_file, parse_checkpoint, prefix_of, sha256_hex
from verifier.formats.text import Hex, Name, Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, apply_head
from verifier.signatures.private_keys import PrivateKey, sign_envelope

FILE = tomllib.loads((ROOT / "tests" / "vectors" / "revocation" / "client-rules.toml").read_text(encoding="utf-8"))
VECTORS = FILE["vector"]
BEGIN = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
KEYS = {
    name: PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))
    for seed, name in enumerate(("head", "stranger"), 1)
}
NO_LOG = {"count": 0, "sha256": "0" * 64}


def moment(hours: float) -> datetime:
    return BEGIN + timedelta(seconds=round(hours * 3600))


def digest(label: str) -> Hex:
    return Hex(hashlib.sha256(label.encode()).hexdigest())


def set_file(labels: list[str]) -> bytes:
    return dump_set_file(prefix_of(digest(label)) for label in labels)


def rules_file(names: list[str]) -> bytes:
    rules: list[dict[str, Any]] = [
        {"id": name.rstrip("!"), "kind": "signer", "match": {"principal": name.rstrip("!").lower()}, "except": [],
         "reason": "mistake" if name.endswith("!") else "malicious"}
        for name in names
    ]  # fmt: skip
    return json.dumps({"v": 1, "rules": rules}, separators=(",", ":")).encode()


class Offer:
    """One step: what the client has and what it is offered."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self.content: dict[str, bytes] = {}
        self.now = moment(state["now"])
        self.trust = self._trust()
        self.envelope = self._head()

    def file(self, kind: FileKind, name: Hex) -> bytes:
        problem = self.state.get("files", "")
        if (kind == "bases" and problem == "no-base") or (kind == "segments" and problem == "missing"):
            raise UsageError("io.failed", "there is no such file")
        if (kind == "bases" and problem == "other-base") or (kind == "segments" and problem == "other"):
            return set_file(["something else"])
        data = self.content[name]
        return b"".join(data[i : i + 16] for i in range(len(data) - 16, -1, -16)) if problem == "unsorted" else data

    def _keep(self, data: bytes) -> Hex:
        name = sha256_hex(data)
        self.content[name] = data
        return name

    def _trust(self) -> Any:
        trust, found = self.state["trust"], self.state["checkpoint"]
        key = KEYS["head"].public
        policy = policy_of(
            {"v": 1, "deployment": trust["deployment"], "version": 1,
             "valid_until": str(Time.of(moment(10_000))), "profile": "production", "host_api": "1.0",
             "keys": {str(key.id): {"alg": key.alg, "spki": key.entry.spki}},
             "head_keys": [{"key": str(key.id), "not_after": str(Time.of(moment(trust["key_until"])))}],
             "principals": {}, "plugins": {}, "certifiers": {},
             "tiers": {"core": {"isolation": "in-process", "require": ["provenance"]}}}
        )  # fmt: skip
        base = set_file(found["base"])
        document = {"v": 1, "deployment": trust["deployment"], "epoch": found["epoch"], "through": found["through"],
                    "root": self._keep(base), "count": len(base) // 16, "rules": self._keep(rules_file(found["rules"])),
                    "removed": sorted(digest(label) for label in found["removed"]),
                    "removed_rules": found["removed_rules"], "carry": found["carry"], "audit": NO_LOG}  # fmt: skip
        return SimpleNamespace(
            policy=policy, checkpoint=parse_checkpoint(json.dumps(document).encode()),
            deployment=Name(trust["deployment"]), root_version=trust["root"], targets_version=trust["targets"],
            checkpoints_version=found["epoch"],
        )  # fmt: skip

    def _head(self) -> bytes:
        head = self.state["head"]
        segments = []
        for first, last, labels in head["segments"]:
            data = set_file(labels)
            segments.append({"from": first, "to": last, "count": len(data) // 16, "sha256": self._keep(data)})
        payload = {"v": 1, "deployment": head["deployment"], "epoch": head["epoch"], "seq": head["seq"],
                   "issued": str(Time.of(moment(head["issued"]))), "expires": str(Time.of(moment(head["expires"]))),
                   "trust": {"root": head["root"], "targets": head["targets"]}, "segments": segments,
                   "rules": {"sha256": self._keep(rules_file(head["rules"])), "count": len(head["rules"])},
                   "audit": NO_LOG}  # fmt: skip
        key = KEYS[head["key"]]
        return dsse.dump_envelope(sign_envelope(dsse.HEAD, json.dumps(payload).encode(), ("", key)))


def merged(state: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    return state | {
        name: state[name] | value if isinstance(state.get(name), dict) else value for name, value in step.items()
    }


class Client:
    """What one client holds between two steps."""

    def __init__(self, floor: dict[str, int]) -> None:
        self.floor = Floor(**floor)
        self.list: RevocationList | None = None
        self.seen = Seen(**floor, checkpoints=0, issued=Time.of(moment(-10_000)))

    def take(self, offer: Offer) -> None:
        """Take what is offered, or refuse it and stay as it was."""
        Trust.check_floor(offer.trust, Name("acme"), self.floor)
        found = apply_head(self.list, offer.envelope, offer.file, offer.trust, offer.now)
        seen = seen_by(offer.trust, found, max(self.seen.issued, found.head.issued))
        seen.check_follows(self.seen)
        self.list, self.seen = found, seen


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['rule']}: {vector['name']}")
def test_a_vector(vector: dict[str, Any]) -> None:
    client = Client(vector.get("floor", FILE["floor"]))
    state = FILE["start"]
    for step in vector["steps"]:
        state = merged(state, step)
        offer = Offer(state)
        found = ""
        try:
            client.take(offer)
        except LoadlockError as error:
            found = error.code
        assert found == step.get("code", "")
        for label in step.get("listed", ()):
            assert client.list is not None
            assert client.list.lists(digest(label)), label
        for label in step.get("free", ()):
            assert client.list is None or not client.list.lists(digest(label)), label
        for use in step.get("uses", ()):
            assert outcome(client.list, use) == use["outcome"], use


def outcome(held: RevocationList | None, use: dict[str, Any]) -> str:
    """What a list in force is worth at some moment, to a tier of some grace."""
    if held is None:
        return "nothing"
    try:
        return "fresh" if held.freshness(moment(use["at"]), timedelta(hours=use["grace"])).fresh else "stale"
    except Refused as error:
        return error.code


@pytest.mark.parametrize("rule", range(1, 9))
def test_each_rule_has_what_is_taken_and_what_is_refused(rule: int) -> None:
    ends = [step.get("code", "") for vector in VECTORS if vector["rule"] == rule for step in vector["steps"]]
    assert "" in ends
    assert any(ends)
