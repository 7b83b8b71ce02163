"""Bundles of the public Sigstore that others made: they verify offline under a pinned root, altered copies do not."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.project.tree import ROOT
from verifier.errors import Refused
from verifier.formats.bundle import MEDIA_TYPE, parse_bundle
from verifier.formats.identity import WorkflowIdentity
from verifier.formats.strict_json import convert
from verifier.signatures.identities import KeylessSignatory
from verifier.signatures.keyless import public_trusted_root
from verifier.signatures.sigstore_root import check_trusted_root

FOLDER = ROOT / "tests" / "vectors" / "keyless"
TRUSTED_ROOT = (FOLDER / "trusted_root.json").read_bytes()
Json = dict[str, Any]

GITHUB = {
    "issuer": "https://token.actions.githubusercontent.com",
    "repository_id": "772247423",  # the repository was renamed between these two releases
    "refs": ["refs/tags/v*"],
    "triggers": ["release"],
    "runner": "github-hosted",
}
MODELS = GITHUB | {"workflow": "https://github.com/trailofbits/pypi-attestation-models/.github/workflows/release.yml"}
RENAMED = GITHUB | {"workflow": "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml"}
GITLAB = {
    "issuer": "https://gitlab.com",
    "repository_id": "55235664",
    "workflow": "https://gitlab.com/facutuesca/gitlab-oidc-project//.gitlab-ci.yml",
    "refs": ["refs/heads/main"],
    "triggers": ["push"],
    "runner": "gitlab-hosted",
}
SIGNED: dict[str, tuple[Json, str, str]] = {
    "pypi_attestation_models-0.0.4a2.tar.gz.sigstore": (
        MODELS,
        "c9709ce6fd5b67b59b4a28758cf14d3f411803c4b89b6068b1f1a8e4ee94c8ef",
        "2024-06-10T19:47:25Z",
    ),
    "pypi_attestations-0.0.19.tar.gz.publish.attestation": (
        RENAMED,
        "9bb1add04b1b4e182be6b0b80931593f7a291eb49d69b4fd728a5d4cbcdc4bd3",
        "2024-12-04T23:14:01Z",
    ),
    "pypi_attestations-0.0.19.tar.gz.slsa.attestation": (
        RENAMED,
        "9bb1add04b1b4e182be6b0b80931593f7a291eb49d69b4fd728a5d4cbcdc4bd3",
        "2024-12-04T23:13:46Z",
    ),
    "gitlab_oidc_project-0.0.3.tar.gz.publish.attestation": (
        GITLAB,
        "c1ca9b0d85df1606451098233018534497bf584362e10e4a8c21dfaea92c02a8",
        "2024-11-19T17:37:00Z",
    ),
}
"""Each file: who signed it, the sha256 of what it is about, and when."""


def bundle_of(name: str) -> Json:
    """The Sigstore bundle of a file; PEP 740 has the same under other names."""
    document: Json = json.loads((FOLDER / name).read_bytes())
    if "mediaType" in document:
        return document
    material, envelope = document["verification_material"], document["envelope"]
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "certificate": {"rawBytes": material["certificate"]},
            "tlogEntries": material["transparency_entries"],
        },
        "dsseEnvelope": {
            "payload": envelope["statement"],
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": envelope["signature"]}],
        },
    }


def signatory(identity: Json, root: bytes = TRUSTED_ROOT, **options: bool) -> KeylessSignatory:
    return KeylessSignatory(convert(identity, WorkflowIdentity, what="identity"), root, **options)


def code_of(document: Json, who: KeylessSignatory) -> str:
    with pytest.raises(Refused) as caught:
        who.open(parse_bundle(json.dumps(document).encode()))
    return caught.value.code


@pytest.mark.parametrize("name", SIGNED)
def test_it_verifies_offline(name: str) -> None:
    identity, digest, when = SIGNED[name]
    bundle = parse_bundle(json.dumps(bundle_of(name)).encode())
    who = signatory(identity)
    assert who.selected_by(bundle)
    payload, made = who.open(bundle)
    statement = json.loads(payload)
    assert statement["subject"][0]["digest"]["sha256"] == digest
    assert made.at is not None
    assert f"{made.at:%Y-%m-%dT%H:%M:%SZ}" == when


# -- altered copies --------------------------------------------------------------------------------------------------


def entry_of(document: Json) -> Json:
    entry: Json = document["verificationMaterial"]["tlogEntries"][0]
    return entry


def flipped(encoded: str) -> str:
    """The base64 of the same bytes with one bit of the last but two turned."""
    data = bytearray(base64.b64decode(encoded))
    data[-3] ^= 4
    return base64.b64encode(bytes(data)).decode()


def payload(document: Json) -> None:
    text = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b"in-toto", b"in-toti", 1)
    document["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()


def signature(document: Json) -> None:
    document["dsseEnvelope"]["signatures"][0]["sig"] = flipped(document["dsseEnvelope"]["signatures"][0]["sig"])


def certificate(document: Json) -> None:
    material = document["verificationMaterial"]
    material["certificate"]["rawBytes"] = flipped(material["certificate"]["rawBytes"])


def later(document: Json) -> None:
    entry_of(document)["integratedTime"] = str(int(entry_of(document)["integratedTime"]) + 60)


def much_later(document: Json) -> None:
    entry_of(document)["integratedTime"] = str(int(entry_of(document)["integratedTime"]) + 86_400)


def before_the_log(document: Json) -> None:
    entry_of(document)["integratedTime"] = "1500000000"


def promise(document: Json) -> None:
    inner = entry_of(document)["inclusionPromise"]
    inner["signedEntryTimestamp"] = flipped(inner["signedEntryTimestamp"])


def no_promise(document: Json) -> None:
    del entry_of(document)["inclusionPromise"]


def path(document: Json) -> None:
    hashes = entry_of(document)["inclusionProof"]["hashes"]
    hashes[0] = flipped(hashes[0])


def shorter_path(document: Json) -> None:
    entry_of(document)["inclusionProof"]["hashes"].pop()


def root_hash(document: Json) -> None:
    proof = entry_of(document)["inclusionProof"]
    proof["rootHash"] = flipped(proof["rootHash"])


def checkpoint(document: Json) -> None:
    proof = entry_of(document)["inclusionProof"]["checkpoint"]
    origin, size, rest = proof["envelope"].split("\n", 2)
    proof["envelope"] = f"{origin}\n{int(size) + 1}\n{rest}"


def beyond_the_log(document: Json) -> None:
    proof = entry_of(document)["inclusionProof"]
    proof["logIndex"] = proof["treeSize"]


def no_log(document: Json) -> None:
    entry_of(document)["inclusionProof"]["treeSize"] = "0"


def body(document: Json) -> None:
    entry = entry_of(document)
    text = base64.b64decode(entry["canonicalizedBody"]).replace(b"sha256", b"sha265", 1)
    entry["canonicalizedBody"] = base64.b64encode(text).decode()


def other_log(document: Json) -> None:
    entry_of(document)["logId"]["keyId"] = base64.b64encode(bytes(32)).decode()


def other_kind(document: Json) -> None:
    entry_of(document)["kindVersion"] = {"kind": "hashedrekord", "version": "0.0.2"}


def payload_type(document: Json) -> None:
    document["dsseEnvelope"]["payloadType"] = "application/octet-stream"


ALTERED: dict[Callable[[Json], None], str] = {
    payload: "signature.invalid",
    signature: "signature.invalid",
    certificate: "signature.invalid",
    later: "signature.invalid",
    much_later: "signature.invalid",
    before_the_log: "signature.log",
    promise: "signature.invalid",
    no_promise: "signature.time",
    path: "signature.invalid",
    shorter_path: "signature.invalid",
    root_hash: "signature.invalid",
    checkpoint: "signature.invalid",
    beyond_the_log: "signature.invalid",
    no_log: "signature.invalid",
    body: "signature.invalid",
    other_log: "signature.log",
    other_kind: "signature.invalid",
    payload_type: "signature.payload-type",
}


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("alter", ALTERED, ids=lambda alter: alter.__name__)
def test_an_altered_copy_is_refused(name: str, alter: Callable[[Json], None]) -> None:
    document = bundle_of(name)
    honest = copy.deepcopy(document)
    alter(document)
    assert document != honest
    assert code_of(document, signatory(SIGNED[name][0])) == ALTERED[alter]


@pytest.mark.parametrize("part", ["certificate", "tlogEntries"])
def test_the_material_of_another_bundle_is_refused(part: str) -> None:
    """Two honest bundles of one workflow run, minutes apart: neither's material serves the other."""
    first, second = (bundle_of(f"pypi_attestations-0.0.19.tar.gz.{kind}.attestation") for kind in ("publish", "slsa"))
    first["verificationMaterial"][part] = second["verificationMaterial"][part]
    assert code_of(first, signatory(RENAMED)) == "signature.invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://gitlab.com"},
        {"repository_id": "772247424"},
        {"workflow": MODELS["workflow"]},  # the repository's name before
        {"workflow": f"{RENAMED['workflow']}@refs/tags/v0.0.18"},
        {"refs": ["refs/heads/main"]},
        {"refs": ["refs/tags/v0.0.1"]},
        {"triggers": ["push"]},
        {"runner": "self-hosted"},
    ],
)
def test_another_identity_is_refused_before_and_after_it_is_believed(change: Json) -> None:
    document = bundle_of("pypi_attestations-0.0.19.tar.gz.publish.attestation")
    who = signatory(RENAMED | change)
    assert not who.selected_by(parse_bundle(json.dumps(document).encode()))
    assert code_of(document, who) == "signature.identity"


def test_a_timestamp_that_is_demanded_is_missed() -> None:
    for name, (identity, *_) in SIGNED.items():
        assert code_of(bundle_of(name), signatory(identity, timestamp=True)) == "signature.time"


def without(part: str, index: int) -> bytes:
    document: Json = json.loads(TRUSTED_ROOT)
    del document[part][index]
    return json.dumps(document).encode()


def until(part: str, index: int, end: str) -> bytes:
    document: Json = json.loads(TRUSTED_ROOT)
    member = document[part][index]
    member.get("publicKey", member)["validFor"]["end"] = end
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("root", "code"),
    [
        (without("tlogs", 0), "signature.log"),
        (without("ctlogs", 1), "signature.certificate"),
        (without("certificateAuthorities", 1), "signature.certificate"),
        (until("tlogs", 0, "2024-01-01T00:00:00Z"), "signature.log"),
        (until("ctlogs", 1, "2024-01-01T00:00:00Z"), "signature.certificate"),
        (until("certificateAuthorities", 1, "2024-01-01T00:00:00Z"), "signature.certificate"),
    ],
    ids=["no-log", "no-ct-log", "no-authority", "retired-log", "retired-ct-log", "retired-authority"],
)
def test_a_root_without_who_vouched_then_refuses(root: bytes, code: str) -> None:
    for name, (identity, *_) in SIGNED.items():
        assert code_of(bundle_of(name), signatory(identity, root)) == code


def test_a_log_that_was_retired_later_still_vouches_for_what_it_held() -> None:
    identity = SIGNED["gitlab_oidc_project-0.0.3.tar.gz.publish.attestation"][0]
    document = json.dumps(bundle_of("gitlab_oidc_project-0.0.3.tar.gz.publish.attestation")).encode()
    assert signatory(identity, until("tlogs", 0, "2025-01-01T00:00:00Z")).open(parse_bundle(document)).made.at


def test_the_public_root_that_the_library_brings_is_usable() -> None:
    check_trusted_root(TRUSTED_ROOT)
    check_trusted_root(public_trusted_root())
