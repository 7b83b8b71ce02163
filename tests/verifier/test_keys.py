"""Public keys: which are taken, how they are named, and that a signature is right or refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from verifier.errors import Refused
from verifier.formats.policy import Key
from verifier.signatures.keys import PublicKey

P256 = ec.derive_private_key(7, ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32)
MESSAGE = b"a message"
# The order of the group of P-256 (FIPS 186-5 refers to SP 800-186, section 3.2.1.3).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def spki(private: object) -> bytes:
    der: bytes = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return der


def ecdsa(message: bytes = MESSAGE) -> bytes:
    return P256.sign(message, ec.ECDSA(hashes.SHA256()))


def refusal(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


# -- keys that are not taken -------------------------------------------------------------------------------------------

OTHERS = {
    "P-384": ec.derive_private_key(7, ec.SECP384R1()),
    "secp256k1": ec.derive_private_key(7, ec.SECP256K1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "DSA": dsa.generate_private_key(1024),
    "X25519": x25519.X25519PrivateKey.from_private_bytes(b"7" * 32),
    "Ed448": ed448.Ed448PrivateKey.from_private_bytes(b"7" * 57),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_of_key(kind: str) -> None:
    error = refusal(lambda: PublicKey.from_spki(spki(OTHERS[kind])))
    assert (error.code, error.expected) == ("usage.key", "P-256 or Ed25519")


@pytest.mark.parametrize("private", [P256, ED25519], ids=["P-256", "Ed25519"])
def test_no_changed_byte_gives_another_error_or_the_same_key(private: object) -> None:
    der = spki(private)
    for at in range(len(der)):
        for value in {0, 1, 5, 48, 127, 128, 255, der[at] ^ 1} - {der[at]}:
            changed = der[:at] + bytes([value]) + der[at + 1 :]
            try:
                key = PublicKey.from_spki(changed)
            except Refused as error:
                assert error.code == "usage.key"
            else:
                assert key.spki == changed != der
                assert key.id != PublicKey.from_spki(der).id


@pytest.mark.parametrize("private", [P256, ED25519], ids=["P-256", "Ed25519"])
def test_a_key_cut_off_or_with_something_behind_it(private: object) -> None:
    der = spki(private)
    for damaged in (b"", der[:-1], der + b"\0", b"\0" + der, der + der):
        assert refusal(lambda damaged=damaged: PublicKey.from_spki(damaged)).code == "usage.key"  # type: ignore[misc]


def test_a_second_spelling_of_the_same_key() -> None:
    compressed = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    bits = b"\x03" + bytes([len(compressed) + 1]) + b"\0" + compressed
    der = b"\x30" + bytes([len(algorithm) + len(bits)]) + algorithm + bits
    assert refusal(lambda: PublicKey.from_spki(der)).what == "a public key is not in canonical DER"


def test_a_point_that_is_not_on_the_curve() -> None:
    der = spki(P256)
    assert refusal(lambda: PublicKey.from_spki(der[:-32] + b"\x01" * 32)).code == "usage.key"


@pytest.mark.parametrize("pem", [b"", b"\0", b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", b"\xff"])
def test_a_file_that_is_no_key(pem: bytes) -> None:
    assert refusal(lambda: PublicKey.from_pem(pem)).code == "usage.key"


def test_a_private_key_is_no_public_key() -> None:
    pem = ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    error = refusal(lambda: PublicKey.from_pem(pem))
    assert error.code == "usage.key"
    assert base64.b64encode(b"7" * 32).decode()[:20] not in str(error)


def test_a_policys_key_of_another_algorithm_than_it_pins() -> None:
    entry = PublicKey.from_spki(spki(ED25519)).entry
    error = refusal(lambda: PublicKey.from_policy(Key(alg="ecdsa-p256", spki=entry.spki)))
    assert (error.code, error.found, error.expected) == ("trust.policy", "ed25519", "ecdsa-p256")


def test_a_policys_key_that_is_no_base64() -> None:
    assert refusal(lambda: PublicKey.from_policy(Key(alg="ed25519", spki="?"))).code == "format.base64"


# -- signatures that are not right -------------------------------------------------------------------------------------


WRONG_P256 = {
    "empty": b"",
    "a zero": b"\0",
    "an empty sequence": b"\x30\x00",
    "r and s zero": b"\x30\x06\x02\x01\x00\x02\x01\x00",
    "r zero": encode_dss_signature(0, 1),
    "s zero": encode_dss_signature(1, 0),
    "r not reduced": encode_dss_signature(ORDER, 1),
    "s not reduced": encode_dss_signature(1, ORDER),
    "something behind it": ecdsa() + b"\0",
    "cut off": ecdsa()[:-1],
    "another message": ecdsa(b"another message"),
    "another hash": P256.sign(MESSAGE, ec.ECDSA(hashes.SHA384())),
    "another algorithm": ED25519.sign(MESSAGE),
    "long": b"\xff" * 5000,
}
WRONG_ED25519 = {
    "empty": b"",
    "zeros": b"\0" * 64,
    "ones": b"\xff" * 64,
    "cut off": ED25519.sign(MESSAGE)[:-1],
    "something behind it": ED25519.sign(MESSAGE) + b"\0",
    "another message": ED25519.sign(b"another message"),
    "another algorithm": ecdsa(),
}


@pytest.mark.parametrize("name", WRONG_P256)
def test_a_wrong_signature_of_p256(name: str) -> None:
    key = PublicKey.from_spki(spki(P256))
    error = refusal(lambda: key.verify(WRONG_P256[name], MESSAGE))
    assert (error.code, error.expected) == ("signature.invalid", f"a signature by {key.id}")


@pytest.mark.parametrize("name", WRONG_ED25519)
def test_a_wrong_signature_of_ed25519(name: str) -> None:
    key = PublicKey.from_spki(spki(ED25519))
    assert refusal(lambda: key.verify(WRONG_ED25519[name], MESSAGE)).code == "signature.invalid"


def test_a_signature_whose_s_is_not_reduced() -> None:
    # RFC 8032 section 5.1.7: S + L verifies the same equation and has to be refused.
    group = 2**252 + 27742317777372353535851937790883648493
    signature = ED25519.sign(MESSAGE)
    grown = signature[:32] + (int.from_bytes(signature[32:], "little") + group).to_bytes(32, "little")
    assert refusal(lambda: PublicKey.from_spki(spki(ED25519)).verify(grown, MESSAGE)).code == "signature.invalid"


def test_a_key_does_not_verify_for_another_key() -> None:
    other = PublicKey(ed25519.Ed25519PrivateKey.from_private_bytes(b"8" * 32).public_key())
    assert refusal(lambda: other.verify(ED25519.sign(MESSAGE), MESSAGE)).code == "signature.invalid"


# -- what is right -----------------------------------------------------------------------------------------------------


def test_right_signatures() -> None:
    PublicKey.from_spki(spki(P256)).verify(ecdsa(), MESSAGE)
    PublicKey.from_spki(spki(ED25519)).verify(ED25519.sign(MESSAGE), MESSAGE)


def test_ecdsa_signatures_have_a_twin_so_that_nothing_may_be_known_by_its_signature() -> None:
    r, s = decode_dss_signature(ecdsa())
    PublicKey.from_spki(spki(P256)).verify(encode_dss_signature(r, ORDER - s), MESSAGE)


@pytest.mark.parametrize(("private", "alg"), [(P256, "ecdsa-p256"), (ED25519, "ed25519")], ids=["P-256", "Ed25519"])
def test_a_keys_names(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, alg: str) -> None:
    der = spki(private)
    key = PublicKey.from_spki(der)
    digest = hashlib.sha256(der)
    assert (key.alg, key.spki, key.id) == (alg, der, f"sha256:{digest.hexdigest()}")
    assert key.hint == base64.b64encode(digest.digest()).decode()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey.from_pem(pem).id == PublicKey.from_policy(key.entry).id == key.id


def test_rfc_8032_test_2() -> None:
    # RFC 8032 section 7.1, TEST 2: an implementation that is not ours.
    raw = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = PublicKey(ed25519.Ed25519PublicKey.from_public_bytes(raw))
    key.verify(signature, b"\x72")
    assert refusal(lambda: key.verify(signature, b"\x73")).code == "signature.invalid"
