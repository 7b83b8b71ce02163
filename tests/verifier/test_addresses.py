"""Addresses that are none: refused with words wherever one is taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attestor.checking.scanner import over_service
from attestor.signing.signers import open_signer
from crl_server.console.place import Place
from verifier.addresses import NOWHERE, split
from verifier.errors import LoadlockError
from verifier.formats.enrolment import ServerUrl
from verifier.refreshing.api_client import checked_address

BROKEN = ["https://[::1", "https://a.example:b", "https://a.example:99999999", "https://\u2100.example"]


@pytest.mark.parametrize("address", BROKEN)
def test_what_is_no_address_is_nowhere(address: str) -> None:
    assert split(address) == NOWHERE


def test_an_address_is_taken_apart() -> None:
    parts = split("https://a.example:8443/b?c")
    assert (parts.scheme, parts.hostname, parts.port, parts.path, parts.query) == (
        "https",
        "a.example",
        8443,
        "/b",
        "c",
    )


@pytest.mark.parametrize("address", BROKEN)
@pytest.mark.parametrize(
    ("take", "code"),
    [
        (checked_address, "usage.configuration"),
        (lambda address: over_service("osv", address), "usage.configuration"),
        (
            lambda address: Place.of(ServerUrl("http://127.0.0.1")).check_origin("https://host.example", address[8:]),
            "auth.form",
        ),
        (lambda address: open_signer(f"file2:{address[6:]}"), "usage.key"),
    ],
    ids=["server", "advisories", "console", "key"],
)
def test_it_is_refused_with_words(take: Callable[[str], object], code: str, address: str) -> None:
    with pytest.raises(LoadlockError) as caught:
        take(address)
    assert caught.value.code == code
