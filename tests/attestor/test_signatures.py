"""Owner and certifier: what they refuse to put their name to, and what they sign."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attestor.checking.review import Keys, review
from attestor.pipeline import Attestation, Options, attest_wheel
from attestor.signing.certify import Terms, certify
from attestor.signing.endorse import endorse
from attestor.signing.signers import KeySigner
from tests.attestor.conftest import EXAMPLE, NOW, Signers
from tests.wheels import build_wheel
from verifier.errors import LoadlockError
from verifier.formats.bundle import dump_set, parse_set
from verifier.formats.manifest import dump_manifest, parse_signed_manifest
from verifier.formats.statement import (
    CERTIFICATION,
    MANIFEST,
    SBOM,
    dump_statement,
    parse_certification,
    parse_statement,
)
from verifier.judging.covenant import readable

SOON = NOW + timedelta(days=30)


def keys_of(signers: Signers) -> Keys:
    return {"builder": [signers.builder.public_key], "owner": [signers.owner.public_key]}


def endorsed(made: Attestation, signers: Signers) -> bytes:
    builders = [signers.builder.public_key]
    done = endorse(made.wheel, made.file_name, made.attestations, made.unsigned, signers.owner, builders, now=NOW)
    return done.attestations


def certified(made: Attestation, attestations: bytes, signers: Signers, terms: Terms | None = None) -> bytes:
    terms = terms or Terms("core", SOON)
    return certify(
        made.wheel, made.file_name, attestations, signers.certifier, keys_of(signers), terms, now=NOW
    ).attestations


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        action()
    return caught.value.code


def with_manifest(unsigned: bytes, **changes: object) -> bytes:
    statement = parse_statement(unsigned)
    predicate = json.loads(statement.predicate) | changes
    return dump_statement(
        type(statement)(
            subject_name=statement.subject_name,
            sha256=statement.sha256,
            predicate_type=statement.predicate_type,
            predicate=dump_manifest(parse_signed_manifest(json.dumps(predicate).encode())),
        )
    )


def foreign(payload: bytes, signer: KeySigner) -> bytes:
    return dump_set((signer.sign(payload),))


# -- the owner refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"artifact_digest": "sha256:" + "0" * 64}, "subject.digest"),
        ({"record_digest": "sha256:" + "0" * 64}, "manifest.record"),
        ({"sbom_digest": "sha256:" + "0" * 64}, "sbom.digest"),
        ({"built_by": "https://ci.example/other"}, "provenance.builder"),
        ({"maturity": "alpha"}, "manifest.embedded"),
    ],
)
def test_a_manifest_that_pins_something_else_is_not_endorsed(
    attested: Attestation, signers: Signers, changes: dict[str, object], code: str
) -> None:
    tampered = replace(attested, unsigned=with_manifest(attested.unsigned, **changes))
    assert code_of(lambda: endorsed(tampered, signers)) == code


@pytest.mark.parametrize("damage", ["spaces", "subject's name", "subject's digest", "another statement", "nothing"])
def test_an_unsigned_statement_that_was_touched_is_not_endorsed(
    attested: Attestation, signers: Signers, damage: str
) -> None:
    unsigned, digest = attested.unsigned, attested.manifest.artifact_digest.removeprefix("sha256:")
    touched, code = {
        "spaces": (unsigned.replace(b'"v":1', b'"v": 1'), "subject.digest"),
        "subject's name": (unsigned.replace(b"csv_exporter-1.0.0-py3", b"csv_exporter-9.9.9-py3", 1), "subject.digest"),
        "subject's digest": (unsigned.replace(digest.encode(), b"0" * 64, 1), "subject.digest"),
        "another statement": (unsigned.replace(MANIFEST.encode(), SBOM.encode()), "format.unsupported"),
        "nothing": (b"", "format.syntax"),
    }[damage]
    if damage == "spaces":
        touched = unsigned.replace(b'"predicateType":', b'"predicateType": ')
    assert touched != unsigned
    assert code_of(lambda: endorsed(replace(attested, unsigned=touched), signers)) == code


def test_an_unknown_builder_is_not_endorsed(attested: Attestation, signers: Signers) -> None:
    strangers = replace(signers, builder=signers.stranger)
    assert code_of(lambda: endorsed(attested, strangers)) == "signature.unknown-signer"


def test_a_missing_set_is_not_endorsed(attested: Attestation, signers: Signers) -> None:
    builders = [signers.builder.public_key]

    def act() -> object:
        return endorse(attested.wheel, attested.file_name, None, attested.unsigned, signers.owner, builders, now=NOW)

    assert code_of(act) == "set.missing"


def test_a_tampered_wheel_is_not_endorsed(attested: Attestation, signers: Signers) -> None:
    wheel = bytearray(attested.wheel)
    wheel[len(wheel) // 2] ^= 1
    assert code_of(lambda: endorsed(replace(attested, wheel=bytes(wheel)), signers)).startswith("wheel.")


def test_the_owner_signs_once(attested: Attestation, signers: Signers) -> None:
    again = replace(attested, attestations=endorsed(attested, signers))
    assert code_of(lambda: endorsed(again, signers)) == "usage.exists"


def test_a_manifest_expired_meanwhile_is_not_endorsed(tmp_path: Path, signers: Signers) -> None:
    wheel = build_wheel({"csv_exporter.py": ""}, name="csv-exporter", version="1.0.0")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    manifest = json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text()) | {"expires_at": "2026-02-01T00:00:00Z"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    options = Options(manifest=tmp_path / "manifest.json")
    made = attest_wheel(tmp_path / wheel.file_name, options, signers.builder, now=NOW)
    builders = [signers.builder.public_key]

    def at(now: datetime) -> object:
        return endorse(made.wheel, made.file_name, made.attestations, made.unsigned, signers.owner, builders, now=now)

    at(NOW)
    assert code_of(lambda: at(datetime(2026, 2, 1, tzinfo=UTC))) == "manifest.expired"


# -- any reader refuses ------------------------------------------------------------------------------------------------


def test_roles_are_not_interchangeable(attested: Attestation, signers: Signers) -> None:
    keys: Keys = {"builder": [signers.builder.public_key], "owner": [signers.owner.public_key]}
    payload = parse_set(attested.attestations)[1].envelope.unverified_payload
    by_owner = foreign(payload, signers.owner)
    assert code_of(lambda: review(attested.wheel, attested.file_name, by_owner, keys)) == "signature.wrong-signer"
    by_builder = foreign(attested.unsigned, signers.builder)
    assert code_of(lambda: review(attested.wheel, attested.file_name, by_builder, keys)) == "signature.wrong-signer"


def test_a_statement_twice_unknown_or_of_another_wheel_is_refused(attested: Attestation, signers: Signers) -> None:
    keys: Keys = {"builder": [signers.builder.public_key]}
    bundles = parse_set(attested.attestations)
    payload = bundles[1].envelope.unverified_payload

    def read(attestations: bytes) -> object:
        return review(attested.wheel, attested.file_name, attestations, keys)

    assert code_of(lambda: read(dump_set((*bundles, bundles[0])))) == "set.duplicate"
    unknown = payload.replace(SBOM.encode(), b"https://host.example/other")
    assert code_of(lambda: read(foreign(unknown, signers.builder))) == "format.unsupported"
    digest = attested.manifest.artifact_digest.removeprefix("sha256:").encode()
    other = payload.replace(digest, b"0" * 64, 1)
    assert code_of(lambda: read(foreign(other, signers.builder))) == "subject.digest"


def test_a_changed_payload_is_refused(attested: Attestation, signers: Signers) -> None:
    line = json.loads(attested.attestations.splitlines()[0])
    payload = base64.b64decode(line["dsseEnvelope"]["payload"]).replace(b"refs/heads/main", b"refs/heads/evil")
    line["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    changed = json.dumps(line).encode() + b"\n"
    keys: Keys = {"builder": [signers.builder.public_key]}
    assert code_of(lambda: review(attested.wheel, attested.file_name, changed, keys)) == "signature.invalid"


# -- the certifier refuses ---------------------------------------------------------------------------------------------


def test_a_set_without_its_owner_is_not_certified(attested: Attestation, signers: Signers) -> None:
    assert code_of(lambda: certified(attested, attested.attestations, signers)) == "set.statement-missing"


def test_another_owner_is_not_certified(attested: Attestation, signers: Signers) -> None:
    by_stranger = endorsed(attested, replace(signers, owner=signers.stranger))
    assert code_of(lambda: certified(attested, by_stranger, signers)) == "signature.unknown-signer"


def test_a_certification_that_has_expired_already_is_not_made(attested: Attestation, signers: Signers) -> None:
    terms = Terms("core", NOW)
    assert code_of(lambda: certified(attested, endorsed(attested, signers), signers, terms)) == "usage.arguments"


def test_a_condition_that_gives_something_away_is_not_signed(attested: Attestation, signers: Signers) -> None:
    terms = Terms("core", SOON, ["see https://alice:hunter2@host.example"])
    assert code_of(lambda: certified(attested, endorsed(attested, signers), signers, terms)) == "leak.found"


# -- signed ------------------------------------------------------------------------------------------------------------


def test_the_owner_signs_the_statement_byte_for_byte(attested: Attestation, signers: Signers) -> None:
    bundles = parse_set(endorsed(attested, signers))
    assert len(bundles) == 3
    assert bundles[2].envelope.unverified_payload == attested.unsigned
    assert bundles[2].hint == signers.owner.public_key.hint


def test_the_certification_names_all_that_it_rests_on(attested: Attestation, signers: Signers) -> None:
    terms = Terms("vetted", SOON, ("never on Fridays",))
    done = certified(attested, endorsed(attested, signers), signers, terms)
    keys: Keys = {**keys_of(signers), "certifier": [signers.certifier.public_key]}
    found = review(attested.wheel, attested.file_name, done, keys)
    summary = parse_certification(found.statements[CERTIFICATION].statement.predicate)
    assert {entry.uri: entry.digest["sha256"] for entry in summary.inputAttestations} == {
        kind: statement.payload_digest.hex for kind, statement in found.statements.items() if kind != CERTIFICATION
    }
    assert len(summary.inputAttestations) == 3
    assert (summary.terms.tier, summary.terms.conditions) == ("vetted", ("never on Fridays",))
    assert summary.terms.expires.instant == SOON
    assert summary.verificationResult == "PASSED"
    assert summary.verifiedLevels == ("LOADLOCK_TIER_VETTED",)
    assert summary.resourceUri == "pkg:pypi/csv-exporter@1.0.0"


def test_certifying_again_replaces_the_old_certification(attested: Attestation, signers: Signers) -> None:
    once = certified(attested, endorsed(attested, signers), signers)
    again = certified(attested, once, signers, Terms("core", SOON + timedelta(days=30)))
    assert len(parse_set(again)) == 4
    assert parse_set(again)[:3] == parse_set(once)[:3]


def test_what_is_signed_is_shown_in_plain_words(attested: Attestation) -> None:
    declared = json.loads(dump_manifest(attested.manifest)) | {"allowed_paths": ["/data"]}
    shown = "\n".join(readable(parse_signed_manifest(json.dumps(declared).encode())))
    for words in (
        "csv_exporter 1.0.0",
        "logging:",
        "/data",
        "may talk to    nothing",
        attested.manifest.artifact_digest,
    ):
        assert words in shown


def test_no_text_of_the_owners_can_steer_the_terminal_it_is_shown_on(attested: Attestation) -> None:
    declared = json.loads(dump_manifest(attested.manifest)) | {"description": "red \x1b[31m"}
    assert code_of(lambda: parse_signed_manifest(json.dumps(declared).encode())) == "format.schema"
