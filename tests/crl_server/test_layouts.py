"""What the server admits of a plugin whose policy names a layout: anything may be handed in as its links."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crl_server.access.roles import Identity
from crl_server.plugins.admission import Upload
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from crl_server.trust import policies
from tests.crl_server.deployments import ACTOR, NOW, made
from tests.simulator import PluginWheel, Simulator
from tests.verifier.chains import Chain, envelope, lines
from verifier.errors import LoadlockError
from verifier.formats.text import Name, PluginId
from verifier.judging.supply_chain import MAX_CHAIN

pytestmark = pytest.mark.usefixtures("engine")

WHO = Identity("token:ci", frozenset({"publisher"}))
HEADER = '[plugins."sample_plugin"]\n'


class Place:
    """A deployment that knows the simulator's people and plugin, and how the plugin is made."""

    def __init__(self, directory: Path) -> None:
        self.sim = Simulator(NOW)
        self.wheel: PluginWheel = self.sim.wheel()
        digest = {"sha256": self.wheel.digest.removeprefix("sha256:")}
        self.chain = Chain(self.sim.people["owner"], {f"dist/{self.wheel.file_name}": digest})
        self.authority: Authority = made(directory, "production")
        text = self.authority.office().text()
        for name, tier in (("builder", None), ("owner", None), ("certifier", "core")):
            public = self.sim.people[name].public
            text = policies.with_principal(text, Name(name), public, tier)  # type: ignore[arg-type]
        roles = ([Name("builder")], [Name("owner")], [Name("certifier")])
        self.text = policies.with_plugin(text, PluginId("sample_plugin"), *roles, None)
        self.attestations = self.sim.attest(self.wheel)

    def name_layout(self, change: Callable[[str], str] = str) -> None:
        """Sign the policy with the layout as it now is."""
        digest = hashlib.sha256(self.chain.payload).hexdigest()
        rule = f'{HEADER}layout = {{ payload = "sha256:{digest}", owner = "owner" }}\n'
        self.authority.office().sign_policy(change(self.text.replace(HEADER, rule)), ACTOR, NOW)

    def admit(self, chain: bytes) -> tuple[str, ...]:
        """Hand the plugin in; the warnings that come back."""
        upload = Upload(self.wheel.file_name, self.wheel.data, self.attestations, chain)
        return self.authority.admit(upload, WHO, NOW).warnings

    def code(self, chain: bytes) -> str:
        """The code of the refusal."""
        with pytest.raises(LoadlockError) as caught:
            self.admit(chain)
        return caught.value.code


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path / "acme")
    yield found
    found.authority.close()


def test_whatever_is_handed_in_is_a_refusal_with_a_code(place: Place) -> None:
    place.name_layout()
    whole = place.chain.signed()
    first, *links = place.chain.envelopes()
    deep = json.dumps(place.chain.links[0][1] | {"environment": None}).replace("null", "[" * 500 + "]" * 500).encode()
    handed_in = {
        b"": "layout.missing",
        b"\x00": "format.syntax",
        b"{}\n": "format.schema",
        whole[: len(whole) // 2]: "format.syntax",
        b"x" * (MAX_CHAIN + 1): "format.too-large",
        lines([first]): "layout.threshold",
        lines(links): "layout.other",
        lines([*links, first]): "layout.other",
        lines([first, first]): "signature.unknown-signer",
        lines([first, *links, *links]): "layout.link",
        lines([first, envelope(deep, place.chain.ci), *links[1:]]): "format.depth",
        lines([first, envelope(b"\xff", place.chain.ci), *links[1:]]): "format.encoding",
    }
    assert {chain: place.code(chain) for chain in handed_in} == handed_in
    assert place.admit(whole) == ()


def test_the_owners_key_has_to_be_in_force(place: Place) -> None:
    header = '[principals."owner"]\n'
    for status in ("revoked", "retired"):
        place.name_layout(lambda text, status=status: text.replace(header, f'{header}status = "{status}"\n'))  # type: ignore[misc]
        assert place.code(place.chain.signed()).startswith("signature.")


def test_somebody_elses_signature_is_not_the_owners(place: Place) -> None:
    place.name_layout()
    place.chain.owner = place.sim.people["builder"]
    assert place.code(place.chain.signed()) == "signature.unknown-signer"


def test_a_layout_with_an_inspection_runs_nothing_here(place: Place, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    inspection = {"_type": "inspection", "name": "look", "run": ["touch", str(ran)]}
    place.chain.layout["inspect"] = [inspection | {"expected_materials": [], "expected_products": []}]
    place.name_layout()
    assert place.code(place.chain.signed()) == "format.unsupported"
    assert not ran.exists()


def test_the_log_holds_the_digests_and_the_registry_no_links(place: Place) -> None:
    place.name_layout()
    chain = place.chain.signed()
    place.admit(chain)
    with place.authority.store.read() as ledger:
        *_, last = (parse_entry(line) for line in ledger.audit_lines())
    assert last.detail["layout"] == f"sha256:{hashlib.sha256(place.chain.payload).hexdigest()}"
    assert last.detail["links"] == f"sha256:{hashlib.sha256(chain).hexdigest()}"
    kept = [path for path in place.authority.layout.root.rglob("*") if path.is_file()]
    link = json.dumps(place.chain.envelopes()[1]["payload"]).encode().strip(b'"')
    assert not [path for path in kept if link in path.read_bytes()]


def test_links_that_nobody_asked_for_are_not_looked_at(place: Place) -> None:
    place.authority.office().sign_policy(place.text, ACTOR, NOW)
    (warning,) = place.admit(b"anything")
    assert "names no layout" in warning


def test_the_same_wheel_with_other_links_is_another_upload(place: Place) -> None:
    upload = Upload(place.wheel.file_name, place.wheel.data, place.attestations, b"a")
    assert upload.fingerprint != replace(upload, chain=b"b").fingerprint != replace(upload, chain=b"").fingerprint
