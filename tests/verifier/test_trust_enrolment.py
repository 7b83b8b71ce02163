"""Enrolling: only the root that was announced, and only what its own keys have signed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from loadlock.testing.documents import envelope, sha256
from tests.live_deployment import LiveDeployment, signed_by
from verifier.deployment.enrolment import verify_enrolment
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.formats import dsse, strict_json
from verifier.formats.enrolment import Floor, encode_root, parse_enrolment
from verifier.formats.text import Digest
from verifier.refreshing.refresh import enroll, refresh


@pytest.fixture
def live() -> Iterator[LiveDeployment]:
    with LiveDeployment() as deployment:
        yield deployment


def payload_of(live: LiveDeployment) -> bytes:
    return dsse.parse_envelope(live.server.files["enrolment.json"]).unverified_payload


def roots(live: LiveDeployment) -> tuple[CryptoSigner, CryptoSigner]:
    return live.repository.signers["root-1"], live.repository.signers["root-2"]


def refused(live: LiveDeployment, directory: Path, fingerprint: str | None = None) -> str:
    with pytest.raises(LoadlockError) as caught:
        enroll(live.server.url, fingerprint or live.fingerprint, directory)
    assert not directory.exists()
    return caught.value.code


def unsigned(live: LiveDeployment) -> bytes:
    return envelope(dsse.ENROLMENT, payload_of(live), {"x": b""})


def by_one(live: LiveDeployment) -> bytes:
    return signed_by(payload_of(live), roots(live)[:1])


def by_one_under_two_names(live: LiveDeployment) -> bytes:
    payload = payload_of(live)
    signature = bytes.fromhex(roots(live)[0].sign(dsse.pae(dsse.ENROLMENT, payload)).signature)
    return envelope(dsse.ENROLMENT, payload, {roots(live)[0].public_key.keyid: signature, "other": signature})


def by_strangers(live: LiveDeployment) -> bytes:
    return signed_by(payload_of(live), (CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()))


def by_other_roles(live: LiveDeployment) -> bytes:
    return signed_by(payload_of(live), (live.repository.signers["targets"], live.repository.signers["online"]))


def by_a_stranger_under_a_root_keys_name(live: LiveDeployment) -> bytes:
    payload, stranger = payload_of(live), CryptoSigner.generate_ed25519()
    forged = bytes.fromhex(stranger.sign(dsse.pae(dsse.ENROLMENT, payload)).signature)
    return envelope(dsse.ENROLMENT, payload, {signer.public_key.keyid: forged for signer in roots(live)})


def edited(live: LiveDeployment) -> bytes:
    signed = dsse.parse_envelope(live.server.files["enrolment.json"])
    payload = signed.unverified_payload.replace(b'"seq":0', b'"seq":1')
    assert payload != signed.unverified_payload
    return envelope(dsse.ENROLMENT, payload, {s.keyid: s.sig for s in signed.signatures})


def of_another_type(live: LiveDeployment) -> bytes:
    return signed_by(payload_of(live), roots(live), dsse.IN_TOTO)


def floor_above_the_root(live: LiveDeployment) -> bytes:
    live.publish_enrolment(Floor(root=2, targets=1, epoch=1, seq=0))
    return live.server.files["enrolment.json"]


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (unsigned, "trust.root"),
        (by_one, "trust.root"),
        (by_one_under_two_names, "trust.root"),
        (by_strangers, "trust.root"),
        (by_other_roles, "trust.root"),
        (by_a_stranger_under_a_root_keys_name, "trust.root"),
        (edited, "trust.root"),
        (of_another_type, "signature.payload-type"),
        (floor_above_the_root, "trust.root"),
        (lambda live: b"", "format.syntax"),
        (lambda live: live.server.files["enrolment.json"][:-20], "format.syntax"),
        (lambda live: live.server.files["enrolment.json"] + b" " * 3_000_000, "format.too-large"),
        (lambda live: envelope(dsse.ENROLMENT, b"{}", {"x": b"y"}), "format.schema"),
    ],
)
def test_a_bundle_that_its_root_did_not_sign_is_refused(
    live: LiveDeployment, tmp_path: Path, attack: Callable[[LiveDeployment], bytes], code: str
) -> None:
    live.server.files["enrolment.json"] = attack(live)
    assert refused(live, tmp_path / "host") == code


def test_another_deployments_bundle_is_refused_by_its_fingerprint(live: LiveDeployment, tmp_path: Path) -> None:
    announced = live.fingerprint
    with LiveDeployment() as other:
        assert refused(other, tmp_path / "host", announced) == "trust.root"


def test_a_root_that_is_not_signed_by_its_own_keys_is_refused(live: LiveDeployment, tmp_path: Path) -> None:
    metadata: Metadata[Root] = Metadata.from_bytes(live.repository.pinned)
    metadata.signatures.popitem()
    root = metadata.to_bytes()
    enrolment = strict_json.plain(parse_enrolment(payload_of(live))) | {"root": encode_root(root)}
    bundle = signed_by(strict_json.dumps(enrolment), roots(live))
    with pytest.raises(Refused) as caught:
        verify_enrolment(bundle, Digest(f"sha256:{sha256(root)}"))
    assert caught.value.code == "trust.root"


@pytest.mark.parametrize("fingerprint", ["", "sha256:", "0" * 64, "sha256:" + "A" * 64, "sha256:" + "0" * 63])
def test_a_malformed_fingerprint_is_a_mistake_of_who_types(
    live: LiveDeployment, tmp_path: Path, fingerprint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        enroll(live.server.url, fingerprint, tmp_path / "host")
    assert caught.value.code == "usage.arguments"
    assert live.server.log == []


def test_a_server_without_a_bundle_is_unreachable(live: LiveDeployment, tmp_path: Path) -> None:
    del live.server.files["enrolment.json"]
    with pytest.raises(Unreachable) as caught:
        live.enroll(tmp_path / "host")
    assert caught.value.code == "unreachable.server"


def test_a_host_pins_what_the_bundle_says_and_can_then_refresh(live: LiveDeployment, tmp_path: Path) -> None:
    live.repository.rotate_root_key(live.now)
    live.publish()
    live.publish_enrolment(Floor(root=2, targets=1, epoch=1, seq=0))
    home = live.enroll(tmp_path)
    assert (home.host.deployment, home.host.server, home.host.root) == ("acme", live.server.url, live.fingerprint)
    assert home.pinned_root == live.repository.roots[2]
    assert refresh(home, live.now).trust.root_version == 2
