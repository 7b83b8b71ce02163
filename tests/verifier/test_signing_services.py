"""Keys in tokens and services: what is refused before any of them is asked, and that no secret is ever shown."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta

import pytest

from verifier.deadline import within
from verifier.errors import LoadlockError, Unreachable, UsageError
from verifier.signatures import signing_services
from verifier.signatures.key_secrets import PIN
from verifier.signatures.private_keys import PrivateKey
from verifier.signatures.signing_services import SERVICES, ServiceKey, check_uri, fetch_public_key, is_uri

P256 = PrivateKey.generate("ecdsa-p256").public
ED25519 = PrivateKey.generate("ed25519").public
GOOD = {
    "hsm": "hsm:7?label=release+keys",
    "awskms": "awskms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "gcpkms": "gcpkms:projects/p-1/locations/eu/keyRings/ring/cryptoKeys/key/cryptoKeyVersions/12",
    "azurekms": "azurekms://my-vault.vault.azure.net/keys/release/0123456789abcdef0123456789abcdef",
    "hv": "hv:release/3",
}
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIN, SECRET)


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        f"hsm:2?label=x&pin-value={SECRET}",
        f"hsm:2?pin={SECRET}",
        f"hsm:{SECRET}",
        f"pkcs11:token=x;object=k?pin-value={SECRET}",
        f"hv:release/3?token={SECRET}",
        f"hv:{SECRET}",
        f"azurekms://me:{SECRET}@my-vault.vault.azure.net/keys/release/1",
        f"awskms:key?secret={SECRET}",
        f"gcpkms:{SECRET}",
        f"gnupg:{SECRET}",
        f"tkey:?digest={SECRET}",
        f"https://{SECRET}@host.example/key",
        f"hsm:2?label=x\n{SECRET}",
    ],
)
def test_a_uri_that_is_not_as_it_should_be_is_refused_unseen(uri: str) -> None:
    for attempt in (lambda: ServiceKey(uri, P256), lambda: fetch_public_key(uri), lambda: check_uri(uri)):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "usage.key"
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value.document())
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["gnupg", "tkey"])
def test_a_scheme_that_cannot_sign_for_us_says_why(scheme: str) -> None:
    with pytest.raises(UsageError) as caught:
        ServiceKey(f"{scheme}:abcd", P256)
    assert caught.value.found == signing_services.UNUSABLE[scheme]


@pytest.mark.parametrize("scheme", sorted(GOOD))
def test_a_key_that_the_service_cannot_sign_with_is_refused(scheme: str) -> None:
    wrong = P256 if scheme == "hv" else ED25519
    with pytest.raises(UsageError) as caught:
        ServiceKey(GOOD[scheme], wrong)
    assert (caught.value.code, caught.value.found) == ("usage.key", wrong.alg)


def test_work_that_takes_too_long_is_not_waited_for() -> None:
    over = threading.Event()
    with pytest.raises(Unreachable) as caught:
        within(timedelta(milliseconds=20), over.wait, lambda: Unreachable("unreachable.signer", "late"))
    over.set()
    assert caught.value.what == "late"


def test_what_goes_wrong_within_a_deadline_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"):
        within(timedelta(seconds=10), fail, lambda: Unreachable("unreachable.signer", "late"))


class Careless(Exception):
    """What a library may raise: words with a secret in them."""


class FakeConnectionError(Exception):
    """An error whose name says that nobody answered."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Careless(f"login with {SECRET} failed\x1b[2J"), "signer.failed"),
        (FakeConnectionError(f"no way to {SECRET}@token"), "unreachable.signer"),
    ],
)
def test_the_words_of_a_library_are_passed_on_without_the_pin(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(_: bytes) -> bytes:
        raise error

    key = ServiceKey(GOOD["hsm"], P256)
    monkeypatch.setattr(key, "_sign", fail)
    with pytest.raises(LoadlockError) as caught:
        key.sign(b"message")
    assert caught.value.code == code
    assert SECRET not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert type(error).__name__ in caught.value.found
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_token_without_a_pin_asks_nobody_where_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PIN)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(UsageError) as caught:
        ServiceKey(GOOD["hsm"], P256)
    assert caught.value.code == "usage.key"
    assert PIN in caught.value.expected


# -- accepted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", sorted(GOOD))
def test_every_scheme_is_dispatched_and_never_shows_where_the_key_is(scheme: str) -> None:
    assert set(GOOD) == set(SERVICES)
    assert is_uri(GOOD[scheme])
    key = ServiceKey(GOOD[scheme], ED25519 if scheme == "hv" else P256)
    assert GOOD[scheme] not in repr(key)
    assert SECRET not in repr(key)


@pytest.mark.parametrize("name", ["key.pem", "/etc/keys/key.pem", "./hsm:2", "C:key", "a b:c", ""])
def test_paths_are_paths(name: str) -> None:
    assert not is_uri(name)
