"""What was observed, held against the signed manifest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator import NOW, Simulator
from verifier.formats.manifest import SignedManifest
from verifier.formats.strict_json import convert
from verifier.runtime.declared import against
from verifier.runtime.observed import Event, Observed, Record, Whose

EGRESS = [
    {"host": "api.host.example", "schemes": ["https"], "ports": [443, 8443]},
    {"host": "*.store.host.example", "schemes": ["https", "udp"], "ports": [443]},
    {"host": "192.0.2.7", "schemes": ["tcp"], "ports": [5432]},
    {"host": "xn--mnchen-3ya.host.example", "schemes": ["http"], "ports": [80]},
]
NETWORK = {"name": "network", "rationale": "sends reports to the archive"}


def manifest(*capabilities: str, egress: Any = EGRESS) -> SignedManifest:
    sim = Simulator(NOW)
    predicate = sim.claims(sim.wheel("sample-plugin", "1.0"))["manifest"].predicate
    further = [{"name": name, "rationale": "is what it is for"} for name in capabilities]
    return convert(
        predicate | {"capabilities": [NETWORK, *further], "allowed_egress": egress}, SignedManifest, what="manifest"
    )


MANIFEST = manifest()
MINE = Whose(MANIFEST.plugin_id, MANIFEST.artifact_digest, "0" * 32, "frames", False)


def observed(*events: Event, whose: Whose = MINE) -> Observed:
    return Observed("in-process", tuple(Record(NOW, 1, event, whose) for event in events))


def verdicts(*events: Event, declared: SignedManifest = MANIFEST) -> list[str]:
    return [finding.verdict for finding in against(observed(*events), declared)]


@pytest.mark.parametrize(
    "event",
    [
        Event("request", "api.host.example", 443, "tcp", "https"),
        Event("resolve", "api.host.example", 8443),
        Event("resolve", "api.host.example"),
        Event("connect", "api.host.example", 443, "tcp"),
        Event("send", "eu.store.host.example", 443, "udp"),
        Event("connect", "192.0.2.7", 5432, "tcp"),
        Event("resolve", "münchen.host.example", 80),
    ],
)
def test_declared(event: Event) -> None:
    assert verdicts(event) == ["declared"]


@pytest.mark.parametrize(
    "event",
    [
        Event("request", "api.host.example", 443, "tcp", "http"),
        Event("request", "evil.example", 443, "tcp", "https"),
        Event("resolve", "api.host.example", 80),
        Event("resolve", "store.host.example", 443),
        Event("resolve", "notapi.host.example", 443),
        Event("send", "api.host.example", 443, "udp"),
        Event("connect", "192.0.2.8", 5432, "tcp"),
        Event("connect", "192.0.2.7", 443, "tcp"),
        Event("connect", "2001:db8::1%eth0", 443, "tcp"),
        Event("connect", "/run/docker.sock", None, "unix"),
        Event("connect", "family 16", None, "other"),
        Event("resolve", "\udcff" * 70, 443),
        Event("resolve", "", None),
        Event("process", "/bin/sh"),
        Event("library", "libc.so.6"),
    ],
)
def test_undeclared(event: Event) -> None:
    assert verdicts(event) == ["undeclared"]


def test_an_address_is_taken_for_a_declared_name_that_was_looked_up() -> None:
    name, address = Event("resolve", "api.host.example", 443), Event("connect", "198.51.100.4", 443, "tcp")
    assert verdicts(name, address) == ["declared", "declared"]
    assert verdicts(Event("resolve", "evil.example", 443), address) == ["undeclared", "undeclared"]
    assert verdicts(name, address._replace(port=8444)) == ["declared", "undeclared"]
    assert verdicts(name, address._replace(transport="udp")) == ["declared", "undeclared"]
    assert "api.host.example" in against(observed(name, address), MANIFEST)[1].why


def test_capabilities() -> None:
    events = (Event("process", "/bin/sh"), Event("library", "libc.so.6"))
    assert verdicts(*events, declared=manifest("subprocess")) == ["declared", "undeclared"]
    assert verdicts(*events, declared=manifest("subprocess", "native-code")) == ["declared", "declared"]


def test_whose() -> None:
    event = Event("request", "evil.example", 443, "tcp", "https")
    nobodys = observed(event, whose=Whose("", "", "", "nobody", False))
    assert [finding.verdict for finding in against(nobodys, MANIFEST)] == ["unattributed"]
    assert against(observed(event, whose=MINE._replace(plugin_id="another")), MANIFEST) == ()
    assert against(observed(event, whose=MINE._replace(artifact_digest="sha256:00")), MANIFEST) == ()


def test_an_empty_manifest_declares_nothing() -> None:
    assert verdicts(Event("resolve", "api.host.example", 443), declared=manifest(egress=[])) == ["undeclared"]


def test_as_plain_values() -> None:
    [finding] = against(observed(Event("process", "/bin/sh")), MANIFEST)
    assert finding.document["verdict"] == "undeclared"
    assert finding.document["record"]["target"] == "/bin/sh"
