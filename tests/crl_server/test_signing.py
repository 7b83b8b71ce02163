"""Key files: what is refused, what is kept private, and that offline keys have to be elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from crl_server.trust.signing import SigningKey, check_offline_keys_are_away
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats import dsse
from verifier.signatures.keys import Algorithm
from verifier.signatures.private_keys import sign_envelope


def pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ec.generate_private_key(ec.SECP256R1()), b"password"),
    ],
)
def test_what_is_no_usable_key_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(UsageError) as caught:
        SigningKey.read(path)
    assert caught.value.code == "usage.key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    SigningKey.generate().write(path)
    path.chmod(mode)
    with pytest.raises(UsageError) as caught:
        SigningKey.read(path)
    assert (caught.value.code, caught.value.found) == ("usage.key", f"mode {mode:04o}")


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        SigningKey.read(tmp_path / "key.pem")
    assert caught.value.code == "usage.key"


def test_an_oversized_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"x" * 20_000)
    with pytest.raises(UsageError) as caught:
        SigningKey.read(tmp_path / "key.pem")
    assert caught.value.code == "usage.key"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    SigningKey.generate().write(path)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        SigningKey.generate().write(path)
    assert caught.value.code == "usage.exists"
    assert path.read_bytes() == before


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256"])
def test_a_written_key_is_private_and_reads_as_the_same_key(tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "keys" / "key.pem"
    key = SigningKey.generate(algorithm)
    key.write(path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    again = SigningKey.read(path)
    assert (again.public.id, again.public.alg) == (key.public.id, algorithm)
    key.public.verify(again.sign(b"message"), b"message")
    assert "PRIVATE" not in repr(key)


def test_an_envelope_is_signed_over_its_pre_authentication_encoding() -> None:
    key = SigningKey.generate()
    signed = sign_envelope(dsse.HEAD, b"{}", (key.public.id, key))
    key.public.verify(signed.signatures[0].sig, signed.signed_bytes)
    with pytest.raises(Refused) as caught:
        key.public.verify(signed.signatures[0].sig, dsse.pae(dsse.ENROLMENT, b"{}"))
    assert caught.value.code == "signature.invalid"


def test_a_readable_offline_key_stops_a_production_server(tmp_path: Path) -> None:
    SigningKey.generate().write(tmp_path / "offline" / "targets.pem")
    with pytest.raises(LoadlockError) as caught:
        check_offline_keys_are_away(tmp_path / "offline", "production")
    assert (caught.value.code, caught.value.found) == ("server.offline-key", "offline/targets.pem")


def test_any_readable_file_in_the_offline_directory_counts(tmp_path: Path) -> None:
    (tmp_path / "offline" / "backup").mkdir(parents=True)
    (tmp_path / "offline" / "backup" / "old").write_text("x")
    with pytest.raises(LoadlockError) as caught:
        check_offline_keys_are_away(tmp_path / "offline", "production")
    assert caught.value.found == "offline/backup/old"


def test_keys_that_are_away_or_unreadable_let_the_server_start(tmp_path: Path) -> None:
    check_offline_keys_are_away(tmp_path / "offline", "production")
    (tmp_path / "offline").mkdir()
    check_offline_keys_are_away(tmp_path / "offline", "production")
    os.symlink(tmp_path / "unmounted" / "targets.pem", tmp_path / "offline" / "targets.pem")
    check_offline_keys_are_away(tmp_path / "offline", "production")


def test_the_demo_keeps_its_keys_together(tmp_path: Path) -> None:
    SigningKey.generate().write(tmp_path / "offline" / "targets.pem")
    check_offline_keys_are_away(tmp_path / "offline", "demo")
