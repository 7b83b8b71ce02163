"""Keyless signatures against a private Sigstore: the honest case, and every way to be somebody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.hosts import in_fresh_process
from tests.sigstore import COMBINATIONS, KeylessPerson, PrivateSigstore, workflow_claims
from tests.sigstore.keys import b64
from tests.simulator import PluginWheel, Simulator
from verifier.errors import PluginRevoked, Refused
from verifier.formats.manifest import ISOLATIONS
from verifier.formats.text import Time
from verifier.judging.decide import Request
from verifier.judging.standing import check_standing
from verifier.judging.verify import VerifiedPlugin
from verifier.signatures.keys import PublicKey

HOST = Request(isolations=frozenset(ISOLATIONS), provided={"attrs": "25.4.0"}.get)
WORKFLOW = "https://github.com/acme/sample-plugin/.github/workflows/{}.yml"
ALICE, CAROL = "alice@host.example", "carol@host.example"


def released_by(workflow: str = "release", **changes: Any) -> dict[str, Any]:
    """A job's claims, run from another workflow of the same repository."""
    reference = f"acme/sample-plugin/.github/workflows/{workflow}.yml@refs/tags/v1.0"
    return workflow_claims(job_workflow_ref=reference, **changes)


def spki_of(certificate: bytes) -> bytes:
    """The public key that a certificate is for."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


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


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PrivateSigstore]:
    """Another Sigstore, whose services have the same names and other keys."""
    with PrivateSigstore() as services:
        yield services


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


# -- tampering ------------------------------------------------------------------------------------------------------

Json = dict[str, Any]


def lines_of(attestations: bytes) -> list[Json]:
    return [json.loads(line) for line in attestations.splitlines()]


def joined(lines: list[Json]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def swap_entries(lines: list[Json]) -> None:
    first, second = (line["verificationMaterial"] for line in lines[:2])
    first["tlogEntries"], second["tlogEntries"] = second["tlogEntries"], first["tlogEntries"]


def swap_timestamps(lines: list[Json]) -> None:
    first, second = (line["verificationMaterial"] for line in lines[1:3])
    data = "timestampVerificationData"
    first[data], second[data] = second[data], first[data]


def swap_envelopes(lines: list[Json]) -> None:
    lines[1]["dsseEnvelope"], lines[2]["dsseEnvelope"] = lines[2]["dsseEnvelope"], lines[1]["dsseEnvelope"]


def change_payload(lines: list[Json]) -> None:
    envelope = lines[1]["dsseEnvelope"]
    envelope["payload"] = b64(base64.b64decode(envelope["payload"]).replace(b"CycloneDX", b"CycloneDY"))


def change_signature(lines: list[Json]) -> None:
    signature = bytearray(base64.b64decode(lines[0]["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    lines[0]["dsseEnvelope"]["signatures"][0]["sig"] = b64(bytes(signature))


def change_certificate(lines: list[Json]) -> None:
    certificate = bytearray(base64.b64decode(lines[1]["verificationMaterial"]["certificate"]["rawBytes"]))
    certificate[-1] ^= 1
    lines[1]["verificationMaterial"]["certificate"]["rawBytes"] = b64(bytes(certificate))


def change_root_hash(lines: list[Json]) -> None:
    lines[1]["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["rootHash"] = b64(bytes(32))


def change_index(lines: list[Json]) -> None:
    proof = lines[1]["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["logIndex"] = str(int(proof["logIndex"]) + 1)


def change_checkpoint(lines: list[Json]) -> None:
    proof = lines[1]["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    origin, size, rest = proof["checkpoint"]["envelope"].split("\n", 2)
    proof["checkpoint"]["envelope"] = f"{origin}\n{int(size) + 1}\n{rest}"


@pytest.mark.parametrize(
    "change",
    [
        swap_entries, swap_timestamps, swap_envelopes, change_payload, change_signature, change_certificate,
        change_root_hash, change_index, change_checkpoint,
    ],
)  # fmt: skip
def test_whatever_is_changed_refuses_the_set(world: World, change: Callable[[list[Json]], None]) -> None:
    lines = lines_of(world.attest())
    change(lines)
    refused = world.refusal(joined(lines))
    assert (refused.code, refused.step) == ("signature.invalid", 4)
    assert "internal" not in refused.code


def test_an_unreadable_certificate_is_refused(world: World) -> None:
    lines = lines_of(world.attest())
    lines[1]["verificationMaterial"]["certificate"]["rawBytes"] = b64(b"0\x03\x02\x01\x05")
    assert world.refusal(joined(lines)).code == "signature.certificate"


def test_another_payload_type_is_refused(world: World) -> None:
    lines = lines_of(world.attest())
    lines[1]["dsseEnvelope"]["payloadType"] = "text/plain"
    assert world.refusal(joined(lines)).code == "signature.payload-type"


def test_a_statement_about_another_wheel_is_refused(world: World) -> None:
    other = world.sim.wheel(version="1.1")
    with pytest.raises(Refused) as caught:
        world.verify(world.attest(), other)
    assert caught.value.code == "subject.digest"


def test_what_is_written_another_way_says_the_same(world: World) -> None:
    """A bundle's bytes can be written in more ways than one: statements are known by what was signed."""
    honest = world.attest()
    lines = lines_of(honest)
    for line in lines:
        line["dsseEnvelope"]["signatures"][0]["keyid"] = "whatever"
    again = joined(lines)
    assert again != honest
    assert world.verify(again).statements == world.verify(honest).statements


# -- time, logs and authorities -------------------------------------------------------------------------------------


def ended(document: Json, part: str, index: int = 0) -> Json:
    """The trusted root with one log or authority whose time ended a minute before anything here was signed."""
    changed: Json = json.loads(json.dumps(document))
    member = changed[part][index]
    valid_for = member["publicKey"]["validFor"] if "publicKey" in member else member["validFor"]
    valid_for["end"] = (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return changed


@pytest.mark.parametrize(
    ("part", "index", "code"),
    [
        ("tlogs", 1, "signature.log"),
        ("ctlogs", 0, "signature.certificate"),
        ("certificateAuthorities", 0, "signature.certificate"),
        ("timestampAuthorities", 0, "signature.time"),
    ],
)
def test_what_had_ended_when_it_signed_counts_for_nothing(
    sigstore: PrivateSigstore, part: str, index: int, code: str
) -> None:
    world = World(sigstore)
    attestations = world.attest()
    world.root(ended(sigstore.trusted_root(), part, index))
    assert world.refusal(attestations).code == code


def test_what_ended_after_it_signed_still_counts(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = ended(sigstore.trusted_root(), "tlogs", 1)
    later = (datetime.now(UTC) + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    document["tlogs"][1]["publicKey"]["validFor"]["end"] = later
    world.root(document)
    world.verify(attestations)


def test_a_log_that_had_not_begun_counts_for_nothing(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = sigstore.trusted_root()
    document["tlogs"][1]["publicKey"]["validFor"]["start"] = "2100-01-01T00:00:00Z"
    world.root(document)
    assert world.refusal(attestations).code == "signature.log"


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("tlogs", "signature.log"),
        ("certificateAuthorities", "signature.certificate"),
        ("ctlogs", "signature.invalid"),
        ("timestampAuthorities", "signature.invalid"),
    ],
)
def test_what_another_sigstore_signed_counts_for_nothing(
    sigstore: PrivateSigstore, elsewhere: PrivateSigstore, part: str, code: str
) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = sigstore.trusted_root()
    document[part] = elsewhere.trusted_root()[part]
    if part == "certificateAuthorities":  # ours has the same name
        document[part] = document["timestampAuthorities"]
    world.root(document)
    assert world.refusal(attestations).code == code


def test_an_authority_of_the_same_name_is_not_the_same(sigstore: PrivateSigstore, elsewhere: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    document = sigstore.trusted_root()
    document["certificateAuthorities"] = elsewhere.trusted_root()["certificateAuthorities"]
    world.root(document)
    assert world.refusal(attestations).code == "signature.invalid"


def test_a_demanded_timestamp_has_to_be_there(sigstore: PrivateSigstore) -> None:
    world = World(sigstore, 1, timestamps=False)
    attestations = world.attest()
    world.verify(attestations)
    world.root(sigstore.trusted_root(), timestamp=True)
    refused = world.refusal(attestations)
    assert (refused.code, refused.found) == ("signature.time", "no timestamp")


def test_a_demanded_timestamp_is_believed_instead_of_the_log(sigstore: PrivateSigstore) -> None:
    world = World(sigstore, 1, timestamps=True)
    world.root(sigstore.trusted_root(), timestamp=True)
    lines = lines_of(world.attest())
    for line in lines:
        line["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "4000000000"
    world.verify(joined(lines))
    swap_timestamps(lines)
    assert world.refusal(joined(lines)).code == "signature.invalid"


def test_a_log_without_a_time_needs_a_timestamp(world: World) -> None:
    lines = lines_of(world.attest())
    for line in lines:
        del line["verificationMaterial"]["timestampVerificationData"]
    assert world.refusal(joined(lines)).code == "signature.time"


def test_a_time_that_the_log_did_not_state_is_refused(sigstore: PrivateSigstore) -> None:
    world = World(sigstore, 1, timestamps=False)
    lines = lines_of(world.attest())
    entry = lines[0]["verificationMaterial"]["tlogEntries"][0]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    assert world.refusal(joined(lines)).code == "signature.invalid"


@pytest.mark.parametrize("stamp", [b"", b"0\x00", b"0\x03\x02\x01\x05"])
def test_an_unreadable_timestamp_is_refused(world: World, stamp: bytes) -> None:
    lines = lines_of(world.attest())
    lines[0]["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] = b64(
        stamp
    )
    assert world.refusal(joined(lines)).code == ("signature.time" if stamp else "format.schema")


def test_a_principal_signs_until_its_end(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations, now = world.attest(), datetime.now(UTC)
    world.sim.policy("principals.builder.not_after", Time.of(now + timedelta(minutes=5)))
    plugin = world.verify(attestations)
    world.sim.policy("principals.builder.not_after", Time.of(now - timedelta(minutes=5)))
    refused = world.refusal(attestations)
    assert refused.code == "signature.key-retired"
    with pytest.raises(PluginRevoked) as caught:
        check_standing(plugin, world.sim.ground(), HOST)
    assert "signature.key-retired" in caught.value.found


@pytest.mark.parametrize("status", ["revoked", "retired"])
def test_the_status_of_an_identity_decides_as_that_of_a_key(sigstore: PrivateSigstore, status: str) -> None:
    world = World(sigstore)
    attestations = world.attest()
    world.sim.policy("principals.builder.status", status)
    assert world.refusal(attestations).code == f"signature.key-{status}"
    world.sim.policy("principals.builder.accepted", [world.wheel.digest])
    if status == "retired":
        world.verify(attestations)
    else:
        assert world.refusal(attestations).code == "signature.key-revoked"


# -- the trusted root itself ----------------------------------------------------------------------------------------


def test_a_trusted_root_that_is_none_is_refused_when_it_is_asked(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    for document in ({}, sigstore.trusted_root() | {"tlogs": []}, sigstore.trusted_root() | {"mediaType": "x"}):
        world.root(document)
        refused = world.refusal(attestations)
        assert (refused.code, refused.step) == ("trust.metadata", 4)


def test_only_the_trusted_root_that_the_policy_names_is_taken(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations = world.attest()
    repository = world.sim.repository
    repository.set_target(repository.targets, "trusted_root.private.json", b"{}")
    repository.publish_targets(world.sim.started)
    repository.publish_online(world.sim.started)
    refused = world.refusal(attestations)
    assert (refused.code, refused.step) == ("trust.metadata", 0)
    assert "not the one that the policy names" in refused.what


def test_a_trusted_root_is_verified_like_the_policy(sigstore: PrivateSigstore) -> None:
    world = World(sigstore)
    attestations, files = world.attest(), world.sim.repository.targets_files
    honest = files["trusted_root.private.json"]
    for change in (honest.replace(b"2", b"3", 1), None):
        if change is None:
            del files["trusted_root.private.json"]
        else:
            files["trusted_root.private.json"] = change
        assert world.refusal(attestations).code == "trust.metadata"
    files["trusted_root.private.json"] = honest
    files["trusted_root.other.json"] = honest  # nobody listed it
    assert world.refusal(attestations).code == "trust.metadata"


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
