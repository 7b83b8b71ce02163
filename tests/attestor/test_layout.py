"""An owner's layout, from TOML to what is signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from attestor.signing.layout import read_layout, sign_payload
from tests.attestor.conftest import Signers
from verifier.errors import LoadlockError
from verifier.formats.dsse import parse_envelope
from verifier.formats.layout import NOTHING_ELSE, parse_layout

GOOD = """\
expires = "2099-01-31T00:00:00Z"
readme = "How csv-exporter is released."

[keys]
builder = "builder.pem.pub"
colleague = "owner.pem.pub"

[[step]]
name = "build"
by = ["builder"]
command = ["loadlock", "attest", ".", "-o", "dist"]
products = [["CREATE", "dist/*"]]

[[step]]
name = "check"
by = ["builder", "colleague"]
threshold = 2
materials = [["MATCH", "*", "WITH", "PRODUCTS", "FROM", "build"], ["DISALLOW", "*"]]
"""


def written(signers: Signers, text: str) -> Path:
    """The text as a file beside the keys."""
    path = signers.place / "layout.toml"
    path.write_text(text)
    return path


REFUSED = {
    "no steps": (GOOD.partition("[[step]]")[0], "format.schema"),
    "no keys": (GOOD.replace('builder = "builder.pem.pub"\ncolleague = "owner.pem.pub"\n', ""), "format.schema"),
    "no end": (GOOD.partition("\n")[2], "format.schema"),
    "a day alone": (GOOD.replace("T00:00:00Z", ""), "format.schema"),
    "an unknown field": (GOOD.replace("readme", "read_me"), "format.schema"),
    "not TOML": ("expires =", "format.syntax"),
    "nobody known": (GOOD.replace('by = ["builder"]', 'by = ["bilder"]'), "usage.arguments"),
    "more than there are": (GOOD.replace("threshold = 2", "threshold = 3"), "format.schema"),
    "two steps of one name": (GOOD.replace('"check"', '"build"'), "format.schema"),
    "one key under two names": (GOOD.replace("owner.pem.pub", "builder.pem.pub"), "format.schema"),
    "no such key": (GOOD.replace("owner.pem.pub", "nobody.pem.pub"), "io.failed"),
    "a private key": (GOOD.replace("owner.pem.pub", "owner.pem"), "usage.key"),
    "a path of this machine": (GOOD.replace('"dist"]', '"/home/alice/dist"]'), "leak.found"),
    "a credential": (GOOD.replace("How csv", "https://alice:hunter2@host.example How csv"), "leak.found"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_signed(case: str, signers: Signers) -> None:
    text, code = REFUSED[case]
    with pytest.raises(LoadlockError) as caught:
        read_layout(written(signers, text))
    assert caught.value.code == code


def test_rules_end_with_nothing_else(signers: Signers) -> None:
    layout = parse_layout(read_layout(written(signers, GOOD)))
    for step in layout.steps:
        assert step.expected_materials[-1] == step.expected_products[-1] == NOTHING_ELSE
        assert step.expected_materials.count(NOTHING_ELSE) == 1
    assert [step.threshold for step in layout.steps] == [1, 2]
    assert layout.steps[1].expected_command == ()


def test_it_is_written_the_same_each_time(signers: Signers) -> None:
    path = written(signers, GOOD)
    assert read_layout(path) == read_layout(path)


def test_the_signature_bears_the_keys_id(signers: Signers) -> None:
    envelope = parse_envelope(sign_payload(b"{}", signers.owner))
    (signature,) = envelope.signatures
    assert signature.keyid == signers.owner.public_key.id.hex
    signers.owner.public_key.verify(signature.sig, envelope.signed_bytes)
