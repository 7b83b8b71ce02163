"""What is handed to sigstore-python is what it would have read itself, and whatever it would not read is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sigstore_models.bundle import v1 as models
from sigstore_models.common.v1 import LogId, X509Certificate
from sigstore_models.intoto import Envelope, Signature
from sigstore_models.rekor import v1 as log_models

from tests.properties.test_formats import VALID
from tests.sigstore import COMBINATIONS, KeylessPerson, PrivateSigstore, workflow_claims
from tests.verifier.test_keyless_public import SIGNED, TRUSTED_ROOT, bundle_of
from verifier.errors import FormatError
from verifier.formats.bundle import Bundle, dump_bundle, parse_bundle
from verifier.signatures.sigstore_library import fields_of
from verifier.signatures.sigstore_root import PARTS, SigstoreRoot

Json = dict[str, Any]
STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a.whl","digest":{"sha256":"%s"}}],'
    b'"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}' % (b"ab" * 32)
)
LEFT_OUT = "timestamp_verification_data"
"""What is not handed over by this way: timestamps are read by the library's own reader of them, once."""
READS: dict[type[BaseModel], set[str]] = {
    models.Bundle: {"check_content_oneof"},
    models.VerificationMaterial: {"check_content_oneof"},
    X509Certificate: set(),
    log_models.TransparencyLogEntry: set(),
    LogId: set(),
    log_models.KindVersion: set(),
    log_models.InclusionPromise: set(),
    log_models.InclusionProof: {"validate_log_index_in_tree_size"},
    log_models.Checkpoint: set(),
    Envelope: set(),
    Signature: set(),
}
"""What the library reads a bundle into, and the rules of each beside types: ours are the same, as the tests show."""


def handed(bundle: Bundle) -> Any:
    assert bundle.material is not None
    return fields_of(bundle.envelope, bundle.material)


def compare(ours: Any, theirs: Any) -> None:
    """Demand that every field of theirs is in ours with the same value; what theirs leaves empty, ours may not have."""
    if isinstance(theirs, BaseModel):
        for name, value in theirs:
            if name != LEFT_OUT:
                compare(getattr(ours, name, None), value)
    elif theirs is None:
        assert not ours
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            compare(one, other)
    else:
        assert ours == theirs
        assert type(ours) is type(theirs)


@pytest.mark.parametrize("name", SIGNED)
def test_bundles_of_others_are_handed_over_as_the_library_reads_them(name: str) -> None:
    data = json.dumps(bundle_of(name)).encode()
    compare(handed(parse_bundle(data)), models.Bundle.from_json(data))


@pytest.mark.parametrize(("log", "timestamps"), COMBINATIONS)
def test_so_are_bundles_of_either_log(sigstore: PrivateSigstore, log: int, timestamps: bool) -> None:
    config = sigstore.trust_config(log, timestamps=timestamps)
    bundle = KeylessPerson("ci", config, sigstore.issuer.token(workflow_claims())).attest(STATEMENT)
    compare(handed(bundle), models.Bundle.from_json(dump_bundle(bundle)))


LINE = dump_bundle(parse_bundle(VALID["keyless-bundle"]))
PIECES = st.sampled_from(
    [
        b'"keyid":""', b'"keyid":null', b'"certificate":{"rawBytes":"AA=="},', b'"tlogEntries":[],', b"null", b"{}",
        b'"messageSignature":{"signature":"AA=="},', b"=", b"==", b"A", b"0", b"9", b"-", b".", b'"', b",", b"\\n",
        b"[]", b" ", b"99999999999999999999",
    ]
)  # fmt: skip


@settings(max_examples=1500)
@given(at=st.integers(0), piece=PIECES | st.binary(max_size=1), length=st.integers(0, 8))
def test_whatever_passes_our_reader_the_library_reads_alike(at: int, piece: bytes, length: int) -> None:
    place = at % len(LINE)
    changed = LINE[:place] + piece + LINE[place + length :]
    try:
        ours = handed(parse_bundle(changed))
    except (FormatError, ValueError, AssertionError):  # the last: it was made into a bundle of a key's
        return
    compare(ours, models.Bundle.from_json(changed))


def _entry(document: Json) -> Json:
    entry: Json = document["verificationMaterial"]["tlogEntries"][0]
    return entry


EDITS: dict[str, Callable[[Json], object]] = {
    "index at the log's size": lambda it: _entry(it)["inclusionProof"].update(logIndex="8"),
    "index beyond it": lambda it: _entry(it)["inclusionProof"].update(logIndex="800"),
    "a log of nothing": lambda it: _entry(it)["inclusionProof"].update(treeSize="0"),
    "64 bits and one more": lambda it: _entry(it).update(logIndex=str(2**64)),
    "a number below nought": lambda it: _entry(it).update(integratedTime="-1"),
    "a number that is none": lambda it: _entry(it)["inclusionProof"].update(treeSize="8x"),
    "a number without quotes": lambda it: _entry(it).update(logIndex=7),
    "bytes that are no text": lambda it: _entry(it).update(canonicalizedBody=7),
    "bytes that are no base64": lambda it: _entry(it)["logId"].update(keyId="a"),
    "text that is none": lambda it: _entry(it)["kindVersion"].update(version=1),
    "no proof": lambda it: _entry(it).pop("inclusionProof"),
    "hashes that are no list": lambda it: _entry(it)["inclusionProof"].update(hashes="aGFzaA=="),
    "a field of nobody's": lambda it: _entry(it).update(extra="x"),
    "no content": lambda it: it.pop("dsseEnvelope"),
    "two contents": lambda it: it.update(messageSignature={"signature": "AAEC"}),
    "nobody's material": lambda it: it["verificationMaterial"].pop("certificate"),
    "two persons' material": lambda it: it["verificationMaterial"].update(publicKey={"hint": "x"}),
    "an unknown version": lambda it: it.update(mediaType="application/vnd.dev.sigstore.bundle.v0.9+json"),
    "no signatures": lambda it: it["dsseEnvelope"].pop("signatures"),
    "a signature that is no base64": lambda it: it["dsseEnvelope"]["signatures"][0].update(sig="A"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_whatever_the_library_would_not_read_is_refused(edit: Callable[[Json], object]) -> None:
    document: Json = json.loads(VALID["keyless-bundle"])
    handed(parse_bundle(json.dumps(document).encode()))
    edit(document)
    changed = json.dumps(document).encode()
    with pytest.raises(ValidationError):
        models.Bundle.from_json(changed)
    with pytest.raises((FormatError, ValueError)):
        handed(parse_bundle(changed))


@pytest.mark.parametrize("model", READS, ids=lambda model: model.__name__)
def test_the_library_reads_by_no_rule_that_we_have_not_seen(model: type[BaseModel]) -> None:
    """A release that adds one has to be looked at: its rule goes into the strict reader, with a test above."""
    rules = model.__pydantic_decorators__
    assert set(rules.model_validators) == READS[model]
    assert not rules.field_validators
    assert not rules.root_validators


def moments() -> list[datetime]:
    """Every beginning and end that the public trusted root has, and the moments beside each."""
    root: Json = json.loads(TRUSTED_ROOT)
    found = set()
    for part in PARTS:
        for member in root[part]:
            for text in member.get("publicKey", member)["validFor"].values():
                moment = datetime.fromisoformat(text)
                found |= {moment + timedelta(microseconds=shift) for shift in (-1, 0, 1)}
    return sorted(found | {datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)})


def test_what_is_kept_of_a_trusted_root_is_what_was_in_force() -> None:
    """One trusted root is asked about all spans of time in turn, another anew about each."""
    kept, every = SigstoreRoot(TRUSTED_ROOT), moments()
    for first in every:
        for last in every:
            if first <= last:
                left = kept._in_force(first, last).members
                for part, members in kept._parts.items():
                    assert left[part] == tuple(it for it in members if it.in_force(first, last))
