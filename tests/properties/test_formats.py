"""What holds for every format: reading undoes writing, and no bytes at all bring anything but a value or a refusal."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.values import JSON, Plain, plain_values
from tests.verifier.formats.vectors import PARSERS, VECTORS
from verifier.codes import CODES
from verifier.errors import FormatError, Refused
from verifier.formats import bundle, dsse, enrolment, manifest, policy, revocations, statement, strict_json
from verifier.formats.text import Digest, Hex
from verifier.signatures.keys import PublicKey

# The same examples in each run: what a run finds, the next one finds too.
PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
VALID = {vector.format: vector.data for vector in VECTORS if "code" not in vector.fields}
KEYS = {
    PublicKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key()) for seed in range(1, 6)
}


# -- values that keep the rules between their fields -------------------------------------------------------------------


def by(key: Callable[[Any], object], items: list[Any]) -> list[Any]:
    """The items, each key once."""
    return list({key(item): item for item in items}.values())


def consistent_manifest(value: Plain) -> Plain:
    for field, key in (("capabilities", "name"), ("dependencies", "name")):
        if field in value:
            value[field] = by(lambda item, key=key: item[key], value[field])  # type: ignore[misc]
    if "host_provided" in value:
        value["host_provided"] = by(str, value["host_provided"])
    if not any(capability["name"] == "network" for capability in value.get("capabilities", ())):
        value["allowed_egress"] = []
    return value


def consistent_head(value: Plain) -> Plain:
    value["issued"], value["expires"] = "0001-01-01T00:00:00Z", max(value["expires"], "0001-01-01T00:00:01Z")
    return value


def consistent_checkpoint(value: Plain) -> Plain:
    rules = sorted(set(value["removed_rules"]), key=lambda rule: int(rule[1:]))
    removed = sorted(set(value["removed"]))
    return value | {"carry": min(value["carry"], value["epoch"]), "removed": removed, "removed_rules": rules}


def consistent_rules(value: Plain) -> Plain:
    value["rules"] = sorted(by(lambda rule: rule["id"], value["rules"]), key=lambda rule: int(rule["id"][1:]))
    return value


def consistent_policy(value: Plain) -> Plain:
    """Names of the value's own principals everywhere, each with a key of its own, and nothing that is not built yet."""
    head, *keys = sorted(KEYS, key=lambda key: key.id)
    value["keys"] = {key.id: {"alg": key.alg, "spki": key.entry.spki} for key in (head, *keys)}
    value["head_keys"] = [{"key": head.id, "not_after": value["valid_until"]}]
    roots = list(value.get("trusted_roots", {}))
    for key, (name, principal) in zip(keys, value["principals"].items(), strict=False):
        person = principal.pop("person", None)
        for field in ("root", "workflow", "key"):
            principal.pop(field, None)
        if roots and person:
            principal |= {"mode": "keyless", "root": roots[0], "person": person | {"email": f"{name}@host.example"}}
        else:
            principal |= {"mode": "key", "key": key.id}
            principal.pop("not_after", None)
        principal.pop("former", None)  # a vector has one; keys are few here
    names = list(value["principals"])
    for rule in value["plugins"].values():
        rule |= {"builders": names[1:], "rebuilders": names[:1]}
        rule["certifiers"] = names
        rule["owners"] = names[1:]
        signed = names[1:] and value["principals"][names[1]]["mode"] == "key"
        rule |= {"layout": rule["layout"] | {"owner": names[1]} if rule.get("layout") and signed else None}
        rule["former_owners"] = [former | {"owner": names[0]} for former in rule.get("former_owners", [])[:1] if names]
    value["certifiers"] = {name: {"max_tier": "core"} for name in names}
    value |= {"v": 1, "profile": "production"}
    value.pop("exception_until", None)  # of other profiles
    short = {
        "granted": "2026-01-01T00:00:00Z",
        "until": "2026-01-03T00:00:00Z",
        "asked_by": "ann",
        "approved_by": "bob",
    }
    for number, waiver in enumerate(value.get("waivers", ()), 1):
        waiver.update(short, id=number, artifact=f"sha256:{number:064x}")
    for tier in value["tiers"].values():
        tier |= {"require": sorted(get_args(policy.Requirement)), "max_audit_age": "P7D"}
        tier |= {"waivable": tier.get("waivable") or ["tests"], "max_waiver": "P90D"}
    return value


DOCUMENTS: dict[str, tuple[type[Any], Callable[[Any], bytes], Callable[[Plain], Plain]]] = {
    "certification": (statement.Certification, strict_json.dumps, dict),
    "checkpoint": (revocations.Checkpoint, revocations.dump, consistent_checkpoint),
    "enrolment": (enrolment.Enrolment, enrolment.dump_enrolment, lambda value: value | {"root": "e30="}),
    "head": (revocations.Head, revocations.dump, consistent_head),
    "plugin-manifest": (manifest.Manifest, manifest.dump_manifest, consistent_manifest),
    "policy": (policy.Policy, policy.dump_policy, consistent_policy),
    "provenance": (statement.Provenance, strict_json.dumps, dict),
    "rules": (revocations.Rules, revocations.dump, consistent_rules),
    "signed-manifest": (manifest.SignedManifest, manifest.dump_manifest, consistent_manifest),
}


# -- reading undoes writing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(PROPERTY, max_examples=25)
@given(st.data())
def test_what_is_written_reads_back_and_writes_the_same(name: str, data: st.DataObject) -> None:
    type_, dump, consistent = DOCUMENTS[name]
    value = strict_json.convert(consistent(data.draw(plain_values(type_))), type_, what=name)
    written = dump(value)
    read = PARSERS[name](written)
    assert read == value
    assert dump(read) == written


TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20)
SIGNATURES = st.builds(dsse.Signature, keyid=st.text(max_size=20), sig=st.binary(max_size=80))
ENVELOPES = st.builds(
    dsse.Envelope,
    payload_type=st.text(max_size=20),
    unverified_payload=st.binary(max_size=100),
    signatures=st.lists(SIGNATURES, min_size=1, max_size=8).map(tuple),
)
BUNDLES = st.builds(
    bundle.Bundle,
    hint=st.text(max_size=50),
    envelope=st.builds(
        lambda envelope: msgspec.structs.replace(envelope, signatures=envelope.signatures[:1]), ENVELOPES
    ),
)
STATEMENTS = st.builds(
    statement.Statement,
    subject_name=TEXT,
    sha256=st.binary(min_size=32, max_size=32).map(lambda raw: Hex(raw.hex())),
    predicate_type=TEXT.map(lambda text: text.replace(" ", "_")),
    predicate=st.builds(
        lambda value, indent: json.dumps(value, indent=indent).encode(),
        st.dictionaries(st.text(max_size=5), JSON, max_size=3),
        st.sampled_from([None, 1]),
    ),
)


@PROPERTY
@given(ENVELOPES)
def test_envelopes_read_back(value: dsse.Envelope) -> None:
    written = dsse.dump_envelope(value)
    assert dsse.parse_envelope(written) == value
    assert dsse.dump_envelope(dsse.parse_envelope(written)) == written


@PROPERTY
@given(st.lists(BUNDLES, min_size=1, max_size=4).map(tuple))
def test_sets_read_back(value: tuple[bundle.Bundle, ...]) -> None:
    written = bundle.dump_set(value)
    assert bundle.parse_set(written) == value
    assert bundle.dump_set(bundle.parse_set(written)) == written
    assert bundle.parse_bundle(written.split(b"\n")[0]) == value[0]


@PROPERTY
@given(STATEMENTS)
def test_statements_read_back_with_their_predicate_byte_for_byte(value: statement.Statement) -> None:
    written = statement.dump_statement(value)
    assert statement.parse_statement(written) == value
    assert statement.dump_statement(statement.parse_statement(written)) == written


@PROPERTY
@given(st.sets(st.binary(min_size=16, max_size=16), max_size=20))
def test_set_files_read_back(value: set[bytes]) -> None:
    written = revocations.dump_set_file(value)
    assert revocations.parse_set_file(written) == tuple(sorted(value))
    assert revocations.dump_set_file(revocations.parse_set_file(written)) == written


# -- any bytes ---------------------------------------------------------------------------------------------------------


def read(name: str, data: bytes) -> object | None:
    """What the format's parser makes of ``data``; whatever is raised besides a registered refusal fails the test."""
    try:
        return PARSERS[name](data)
    except Refused as error:
        assert error.code in CODES
        assert str(error).replace("\n", "").isprintable()
        assert len(str(error)) < 2000
        return None


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each place of a JSON value, as the container and the key or index."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in ((value, key), *places(item))]


@pytest.mark.parametrize("name", PARSERS)
@PROPERTY
@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_bring_a_value_or_a_refusal(name: str, data: bytes) -> None:
    read(name, data)


@pytest.mark.parametrize("name", PARSERS)
@PROPERTY
@given(at=st.integers(0), byte=st.integers(0, 255), cut=st.booleans())
def test_any_changed_byte_brings_a_value_or_a_refusal(name: str, at: int, byte: int, cut: bool) -> None:
    valid = VALID[name]
    at %= max(len(valid), 1)
    read(name, valid[:at] if cut else valid[:at] + bytes([byte]) + valid[at + 1 :])


@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"set-file", "strict-json"}))
@PROPERTY
@given(st.data())
def test_any_value_at_any_place_brings_a_value_or_a_refusal(name: str, data: st.DataObject) -> None:
    document = json.loads(VALID[name].split(b"\n")[0])
    container, key = data.draw(st.sampled_from(places(document)))
    container[key] = data.draw(JSON | st.text(max_size=600) | st.floats())
    read(name, json.dumps(document).encode() + b"\n")


# -- one reading -------------------------------------------------------------------------------------------------------


@PROPERTY
@given(st.data())
def test_what_is_accepted_reads_the_same_to_other_parsers(data: st.DataObject) -> None:
    text = json.dumps(data.draw(JSON | st.floats()), ensure_ascii=data.draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )
    at, byte = data.draw(st.integers(0)) % len(text), data.draw(st.sampled_from(b'"\\,:[]{}0e.-u \n\x00\xff'))
    text = text[:at] + bytes([byte]) + text[at + 1 :]
    try:
        value = strict_json.loads(text, limit=10_000, what="document")
    except FormatError:
        return
    assert value == json.loads(text) == msgspec.json.decode(text)


# -- nothing signed changes unseen -------------------------------------------------------------------------------------

P256 = ec.derive_private_key(7, ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32)
SIGNERS: list[tuple[PublicKey, Callable[[bytes], bytes]]] = [
    (PublicKey(P256.public_key()), lambda message: P256.sign(message, ec.ECDSA(hashes.SHA256()))),
    (PublicKey(ED25519.public_key()), ED25519.sign),
]


def signed_set() -> bytes:
    """A set of two statements, one by each kind of key."""
    bundles = []
    for key, sign in SIGNERS:
        payload = VALID["statement"]
        signature = dsse.Signature(keyid="", sig=sign(dsse.pae(dsse.IN_TOTO, payload)))
        envelope = dsse.Envelope(payload_type=dsse.IN_TOTO, unverified_payload=payload, signatures=(signature,))
        bundles.append(bundle.Bundle(hint=key.hint, envelope=envelope))
    return bundle.dump_set(tuple(bundles))


SET = signed_set()


@settings(PROPERTY, max_examples=1000)
@given(at=st.integers(0, len(SET) - 1), difference=st.integers(1, 255))
def test_no_changed_byte_of_a_set_verifies_with_another_payload(at: int, difference: int) -> None:
    changed = SET[:at] + bytes([SET[at] ^ difference]) + SET[at + 1 :]
    keys = {key.hint: key for key, _ in SIGNERS}
    try:
        bundles = bundle.parse_set(changed)
        for found in bundles:
            keys.get(found.hint or "", SIGNERS[0][0]).verify(
                found.envelope.signatures[0].sig, found.envelope.signed_bytes
            )
    except Refused as error:
        assert error.code in CODES
        return
    assert {found.envelope.unverified_payload for found in bundles} == {VALID["statement"]}


# -- base64 ------------------------------------------------------------------------------------------------------------


@PROPERTY
@given(st.binary(max_size=20), st.text(max_size=8))
def test_base64_has_one_spelling(raw: bytes, text: str) -> None:
    assert dsse.decode_base64(dsse.encode_base64(raw), "text") == raw
    try:
        assert dsse.encode_base64(dsse.decode_base64(text, "text")) == text
    except FormatError as error:
        assert error.code == "format.base64"


@PROPERTY
@given(st.text(st.sampled_from("AQgz09+/-_= \n\x00\u00e9\ud800"), max_size=12))
def test_base64_is_refused_where_the_standard_library_is_strict(text: str) -> None:
    try:
        known = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        known = None
    if known is None or dsse.encode_base64(known) != text:
        with pytest.raises(FormatError, match="malformed base64"):
            dsse.decode_base64(text, "text")
    else:
        assert dsse.decode_base64(text, "text") == known


def test_the_keys_drawn_from_are_real() -> None:
    assert all(PublicKey.from_spki(base64.b64decode(key.entry.spki)).id == Digest(key.id) for key in KEYS)
