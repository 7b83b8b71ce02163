"""Keyless signatures: whatever is changed in a bundle after it was signed refuses the set."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from tests.sigstore import PrivateSigstore
from tests.sigstore.keys import b64
from tests.verifier.keyless_world import Json, World, joined, lines_of, swap_timestamps
from verifier.errors import Refused


@pytest.fixture(scope="module")
def world(sigstore: PrivateSigstore) -> World:
    return World(sigstore)


def swap_entries(lines: list[Json]) -> None:
    first, second = (line["verificationMaterial"] for line in lines[:2])
    first["tlogEntries"], second["tlogEntries"] = second["tlogEntries"], first["tlogEntries"]


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
