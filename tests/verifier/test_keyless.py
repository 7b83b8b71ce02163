"""Keyless signatures against a private Sigstore: the honest case, and every way to be somebody else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.hosts import in_fresh_process
from tests.sigstore import COMBINATIONS, KeylessPerson, PrivateSigstore, workflow_claims
from tests.simulator import Simulator
from tests.verifier.keyless_world import HOST, WORKFLOW, World, released_by
from verifier.errors import Refused
from verifier.signatures.keys import PublicKey


def spki_of(certificate: bytes) -> bytes:
    """The public key that a certificate is for."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def world(sigstore: PrivateSigstore) -> World:
    return World(sigstore)


@pytest.mark.parametrize(("log", "timestamps"), COMBINATIONS)
def test_the_honest_set_verifies(sigstore: PrivateSigstore, log: int, timestamps: bool) -> None:
    world = World(sigstore, log, timestamps=timestamps)
    plugin = world.verify(world.attest())
    assert set(plugin.signers.values()) == {"builder", "owner", "certifier"}
    for made in plugin.made.values():
        assert made.key is None
        assert made.at is not None
        assert abs(made.at - datetime.now(UTC)) < timedelta(minutes=5)


# -- somebody else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        (released_by(repository_id="815"), "repository id '815', not 4711"),
        (released_by(event_name="pull_request"), "trigger 'pull_request', not push, release"),
        (released_by(event_name="pull_request_target"), "trigger 'pull_request_target'"),
        (released_by(event_name="workflow_dispatch"), "trigger 'workflow_dispatch'"),
        (released_by("other"), "other.yml@refs/tags/v1.0'"),
        (
            released_by() | {"ref": "refs/heads/main"},  # a ref that is allowed, and not the workflow's own
            "refs/tags/v1.0', not",
        ),
        (
            workflow_claims(
                ref="refs/heads/next",
                job_workflow_ref="acme/sample-plugin/.github/workflows/release.yml@refs/heads/next",
            ),
            "ref 'refs/heads/next', not refs/heads/main, refs/tags/v*",
        ),
        (
            workflow_claims(
                repository="mallory/sample-plugin",
                repository_id="815",
                job_workflow_ref="mallory/sample-plugin/.github/workflows/release.yml@refs/tags/v1.0",
            ),
            "repository id '815', not 4711; workflow 'https://github.com/mallory/",
        ),
        ({"sub": "mallory", "email": "mallory@host.example"}, "'mallory@host.example'"),
        ({"sub": WORKFLOW.format("release") + "@refs/tags/v1.0"}, "no repository id, not 4711"),
        ({"sub": "alice", "email": "alice@host.example.evil.example"}, "alice@host.example.evil.example"),
    ],
    ids=[
        "repository-resurrected", "pull-request", "pull-request-target", "by-hand", "other-workflow", "ref-swapped",
        "other-ref", "other-repository", "person", "claims-left-out", "longer-address",
    ],
)  # fmt: skip
def test_a_builder_with_another_identity_counts_for_nothing(world: World, claims: dict[str, Any], words: str) -> None:
    refused = world.refusal(world.attest(builder=world.person(claims)))
    assert (refused.code, refused.step) == ("signature.identity", 8), (
        "the SBOM is the first of the builder's that is missed"
    )
    assert words in refused.found


def test_another_issuer_counts_for_nothing(world: World) -> None:
    """The same Sigstore takes two issuers; the policy names one."""
    issuer = world.sigstore.issuer
    other = issuer.another("https://ci.host.example")
    stranger = KeylessPerson("stranger", world.config, other.token(released_by()))
    refused = world.refusal(world.attest(builder=stranger))
    assert refused.code == "signature.identity"
    assert f"issuer 'https://ci.host.example', not {issuer.url}" in refused.found


def test_an_owner_may_not_speak_as_builder(world: World) -> None:
    refused = world.refusal(world.attest(builder=world.people["owner"]))
    assert refused.code == "signature.wrong-signer"


def test_with_nobody_keyless_in_the_policy_the_refusal_says_so(sigstore: PrivateSigstore, world: World) -> None:
    sim = Simulator(world.sim.started)
    claims = sim.claims(world.wheel)
    claims["sbom"].signer = world.people["builder"]
    with pytest.raises(Refused) as caught:
        sim.verify(world.wheel, claims.sign(), request=HOST)
    assert caught.value.code == "signature.identity"
    assert "the policy names no keyless signer" in caught.value.found


# -- key or keyless: the policy says which --------------------------------------------------------------------------


def test_a_key_counts_for_nothing_where_the_policy_wants_an_identity(world: World) -> None:
    refused = world.refusal(world.attest(builder=world.sim.people["builder"]))  # type: ignore[arg-type]
    assert refused.code == "signature.unknown-signer"


def test_an_identity_counts_for_nothing_where_the_policy_wants_a_key(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    key = world.sim.people["builder"].public.id
    world.sim.policy("principals.builder", {"mode": "key", "key": key})
    refused = world.refusal(world.attest())
    assert refused.code == "signature.identity"


def test_a_certified_key_is_not_taken_for_the_key_of_a_principal(sigstore: PrivateSigstore) -> None:
    """The policy names the very key that the certificate is for, in key mode."""
    world = World(sigstore)
    bundle = world.people["builder"].attest(world.sim.claims(world.wheel)["sbom"].payload)
    assert bundle.material is not None
    key = PublicKey.from_spki(spki_of(bundle.material.certificate_der))
    with pytest.raises(Refused) as caught:
        key.open(bundle)
    assert caught.value.code == "signature.invalid"


def test_a_hint_in_a_bundle_with_a_certificate_is_refused(world: World) -> None:
    hinted = world.attest(lambda data: data.replace(b'{"certificate":', b'{"publicKey":{"hint":"a"},"certificate":', 1))
    refused = world.refusal(hinted)
    assert (refused.code, refused.step) == ("format.schema", 3)


def test_without_the_extra_the_refusal_says_what_to_install(world: World) -> None:
    attestations = world.attest()
    script = """
import sys
from importlib.abc import MetaPathFinder
class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sigstore", "rfc3161_client"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.formats.identity import PersonIdentity
from verifier.signatures.identities import KeylessSignatory
bundle = parse_set(Path(sys.argv[1]).read_bytes())[0]
identity = PersonIdentity(issuer=sys.argv[3], email="alice@host.example")
signatory = KeylessSignatory(identity, Path(sys.argv[2]).read_bytes())
assert signatory.selected_by(bundle)
try:
    signatory.open(bundle)
except Refused as error:
    print(error.code, error.expected)
"""
    with TemporaryDirectory() as folder:
        data, root = Path(folder, "set"), Path(folder, "root")
        data.write_bytes(attestations)
        root.write_text(json.dumps(world.sigstore.trusted_root()))
        assert in_fresh_process(script, data, root, world.sigstore.issuer.url) == "usage.extra loadlock[keyless]"
