"""Keys: which files are refused, and that what is signed verifies."""

from __future__ import annotations

import base64
import os
import resource
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import structs

from attestor.signing import signers
from attestor.signing.signers import load_signer, new_key, open_signer, service_deadline
from verifier.errors import LoadlockError, UsageError
from verifier.judging.evidence import verified_payload
from verifier.signatures import private_keys
from verifier.signatures.keys import Algorithm, PublicKey


def code_of(path: Path, passphrase: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_signer(path, passphrase)
    return caught.value.code


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o777])
def test_a_key_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    new_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(UsageError) as caught:
        load_signer(tmp_path / "key.pem")
    assert caught.value.code == "usage.key"
    assert f"{mode:04o}" in caught.value.found
    assert "chmod 600" in caught.value.todo


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_public_half_is_called_so(tmp_path: Path, mode: int) -> None:
    new_key(tmp_path / "key.pem")
    (tmp_path / "key.pem.pub").chmod(mode)
    with pytest.raises(UsageError) as caught:
        load_signer(tmp_path / "key.pem.pub")
    assert (caught.value.code, caught.value.what) == ("usage.key", "the key 'key.pem.pub' is the public half")


def test_files_that_are_no_keys_are_refused_without_showing_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_signer(write(tmp_path / "x", b"my password is hunter2"))
    assert caught.value.code == "usage.key"
    assert "hunter2" not in str(caught.value)


def test_missing_directory_oversized_and_special_files_are_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path / "absent") == "usage.key"
    assert code_of(tmp_path) == "usage.key"
    assert code_of(write(tmp_path / "big", b"x" * (private_keys.MAX_KEY_FILE + 1))) == "usage.key"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert code_of(tmp_path / "pipe") == "usage.key"


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)], ids=["P-384", "RSA"]
)
def test_other_kinds_of_key_are_refused(tmp_path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    assert code_of(write(tmp_path / "key", pem_of(key))) == "usage.key"


def test_passphrases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_key(tmp_path / "key", passphrase="correct horse")
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    assert code_of(tmp_path / "key") == "usage.key"
    assert code_of(tmp_path / "key", "wrong") == "usage.key"
    monkeypatch.setenv("LOADLOCK_KEY_PASSPHRASE", "correct horse")
    assert load_signer(tmp_path / "key").public_key.id == made.public_key.id
    new_key(tmp_path / "plain")
    assert code_of(tmp_path / "plain") == "usage.key"


def test_a_key_never_overwrites_anything(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("precious")
    (tmp_path / "b.pub").write_text("precious")
    (tmp_path / "c").symlink_to(tmp_path / "nowhere")
    for name in ("a", "b", "c"):
        with pytest.raises(LoadlockError) as caught:
            new_key(tmp_path / name)
        assert caught.value.code == "usage.exists"
    assert (tmp_path / "a").read_text() == "precious"


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ed25519"])
def test_what_is_signed_verifies_and_the_files_fit(tmp_path: Path, algorithm: Algorithm) -> None:
    made = new_key(tmp_path / "key", algorithm)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    public = PublicKey.from_pem((tmp_path / "key.pub").read_bytes())
    assert (public.alg, public.id) == (algorithm, made.public_key.id)
    bundle = load_signer(tmp_path / "key").sign(b'{"a":1}')
    assert bundle.hint == public.hint
    assert verified_payload(bundle, public) == b'{"a":1}'


def test_a_statement_too_large_for_any_reader_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signers, "MAX_STATEMENT", 10)
    with pytest.raises(UsageError) as caught:
        new_key(tmp_path / "key").sign(b"x" * 11)
    assert caught.value.code == "format.too-large"


# -- keys by URI -------------------------------------------------------------------------------------------------------


def test_a_key_file_by_uri_is_read_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_key(tmp_path / "key")
    assert open_signer(f"file2:{tmp_path}/key").public_key.id == made.public_key.id
    monkeypatch.setenv("CRYPTO_SIGNER_PATH_PREFIX", str(tmp_path))
    assert open_signer("file2:key", tmp_path / "key.pub").public_key.id == made.public_key.id
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(UsageError) as caught:
        open_signer("file2:key")
    assert caught.value.code == "usage.key"


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = new_key(tmp_path / "hsm:2")
    assert open_signer("hsm:2").public_key.id == made.public_key.id


def test_another_public_key_than_the_files_is_refused(tmp_path: Path) -> None:
    for name in ("key", "other"):
        new_key(tmp_path / name)
    for named in (str(tmp_path / "key"), f"file2:{tmp_path}/key"):
        with pytest.raises(LoadlockError) as caught:
            open_signer(named, tmp_path / "other.pub")
        assert caught.value.code == "usage.key"


def test_a_uri_that_names_no_key_is_refused_before_its_public_key_is_asked_for() -> None:
    with pytest.raises(UsageError) as caught:
        open_signer("pkcs11:token=x?pin-value=hunter2")
    assert "unknown scheme" in caught.value.what
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("seconds", ["0", "3601", "-1", "1.5", "soon", "1" * 400, "\u0661"])
def test_a_deadline_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv("LOADLOCK_KEY_DEADLINE", seconds)
    with pytest.raises(UsageError) as caught:
        service_deadline()
    assert caught.value.code == "usage.configuration"


def test_the_deadline_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOADLOCK_KEY_DEADLINE", raising=False)
    assert service_deadline() == timedelta(minutes=1)
    monkeypatch.setenv("LOADLOCK_KEY_DEADLINE", "3600")
    assert service_deadline() == timedelta(hours=1)


def test_a_link_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    made = new_key(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    assert load_signer(tmp_path / "link").public_key.id == made.public_key.id
    (tmp_path / "key").chmod(0o640)
    assert code_of(tmp_path / "link") == "usage.key"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert code_of(tmp_path / "loop") == "usage.key"


def test_a_key_on_an_unknown_curve_is_refused(tmp_path: Path) -> None:
    der = pem_of(ec.generate_private_key(ec.SECP256R1()))
    body = base64.b64decode(b"".join(der.splitlines()[1:-1]))
    unknown = body.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030199"))
    assert unknown != body
    pem = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(unknown) + b"-----END PRIVATE KEY-----\n"
    assert code_of(write(tmp_path / "key", pem)) == "usage.key"


def test_a_lying_key_id_convinces_nobody(tmp_path: Path) -> None:
    """Neither the envelope's key id nor the bundle's hint counts: the key that is expected decides."""
    mine, yours = new_key(tmp_path / "mine"), new_key(tmp_path / "yours")
    bundle = mine.sign(b"{}")
    (signature,) = bundle.envelope.signatures
    lying = structs.replace(signature, keyid=yours.public_key.id)
    bundle = structs.replace(
        bundle, hint=yours.public_key.hint, envelope=structs.replace(bundle.envelope, signatures=(lying,))
    )
    with pytest.raises(LoadlockError) as caught:
        verified_payload(bundle, yours.public_key)
    assert caught.value.code == "signature.invalid"
    assert verified_payload(bundle, mine.public_key) == b"{}"


def test_a_disk_that_is_full_leaves_no_part_of_a_key(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(LoadlockError) as caught:
            new_key(tmp_path / "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "io.failed"
    assert list(tmp_path.iterdir()) == []
