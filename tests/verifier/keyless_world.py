"""A deployment whose people sign keyless, by a private Sigstore; and what tampers with what they signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sigstore import KeylessPerson, PrivateSigstore, workflow_claims
from tests.simulator import PluginWheel, Simulator
from verifier.errors import Refused
from verifier.formats.manifest import ISOLATIONS
from verifier.judging.decide import Request
from verifier.judging.verify import VerifiedPlugin

Json = dict[str, Any]

HOST = Request(isolations=frozenset(ISOLATIONS), provided={"attrs": "25.4.0"}.get)
WORKFLOW = "https://github.com/acme/sample-plugin/.github/workflows/{}.yml"
ALICE, CAROL = "alice@host.example", "carol@host.example"


def released_by(workflow: str = "release", **changes: Any) -> dict[str, Any]:
    """A job's claims, run from another workflow of the same repository."""
    reference = f"acme/sample-plugin/.github/workflows/{workflow}.yml@refs/tags/v1.0"
    return workflow_claims(job_workflow_ref=reference, **changes)


class World:
    """A deployment whose builder, owner and certifier sign keyless, and whoever pretends to be them."""

    def __init__(self, sigstore: PrivateSigstore, log: int = 2, *, timestamps: bool = True) -> None:
        self.sigstore = sigstore
        self.config = sigstore.trust_config(log, timestamps=timestamps)
        self.sim = Simulator(datetime.now(UTC).replace(microsecond=0))
        self.people = {
            "builder": self.person(released_by("release")),
            "owner": self.person({"sub": "alice", "email": ALICE, "email_verified": True}),
            "certifier": self.person({"sub": "carol", "email": CAROL, "email_verified": True}),
        }
        self.root(sigstore.trusted_root())
        issuer = sigstore.issuer.url
        self.sim.rules["principals"]["builder"] = {
            "mode": "keyless",
            "root": "private",
            "workflow": {
                "issuer": issuer,
                "repository_id": "4711",
                "workflow": WORKFLOW.format("release"),
                "refs": ["refs/heads/main", "refs/tags/v*"],
                "triggers": ["push", "release"],
            },
        }
        for name, email in (("owner", ALICE), ("certifier", CAROL)):
            principal = {"mode": "keyless", "root": "private", "person": {"issuer": issuer, "email": email}}
            self.sim.rules["principals"][name] = principal
        self.sim.policy("profile", "production")
        self.wheel = self.sim.wheel()

    def person(self, claims: dict[str, Any]) -> KeylessPerson:
        """Somebody with a token of these claims."""
        return KeylessPerson("somebody", self.config, self.sigstore.issuer.token(claims))

    def root(self, document: dict[str, Any], **rule: Any) -> None:
        """Publish a trusted root."""
        self.sim.trusted_root("private", json.dumps(document).encode(), **rule)

    def attest(self, edit: Callable[[bytes], bytes] = bytes, **signers: KeylessPerson) -> bytes:
        """The set, each statement signed by its signer or another; ``edit`` changes it once it is signed."""
        people = self.people | signers
        claims = self.sim.claims(self.wheel)
        for title, role in (("manifest", "owner"), ("sbom", "builder"), ("provenance", "builder")):
            claims[title].signer = people[role]
        claims["certification"].signer = people["certifier"]
        return edit(claims.sign())

    def verify(self, attestations: bytes, wheel: PluginWheel | None = None) -> VerifiedPlugin:
        """What a host makes of the set."""
        return self.sim.verify(wheel or self.wheel, attestations, request=HOST)

    def refusal(self, attestations: bytes) -> Refused:
        """Why a host refuses the set."""
        with pytest.raises(Refused) as caught:
            self.verify(attestations)
        return caught.value


def lines_of(attestations: bytes) -> list[Json]:
    return [json.loads(line) for line in attestations.splitlines()]


def joined(lines: list[Json]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def swap_timestamps(lines: list[Json]) -> None:
    first, second = (line["verificationMaterial"] for line in lines[1:3])
    data = "timestampVerificationData"
    first[data], second[data] = second[data], first[data]


def ended(document: Json, part: str, index: int = 0) -> Json:
    """The trusted root with one log or authority whose time ended a minute before anything here was signed."""
    changed: Json = json.loads(json.dumps(document))
    member = changed[part][index]
    valid_for = member["publicKey"]["validFor"] if "publicKey" in member else member["validFor"]
    valid_for["end"] = (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return changed
