"""Keys: which files are refused, and that what is signed verifies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from attestor import signers
from attestor.signers import load_signer, new_key
from verifier import private_keys
from verifier.errors import LoadlockError, UsageError
from verifier.evidence import verified_payload
from verifier.keys import Algorithm, PublicKey


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
