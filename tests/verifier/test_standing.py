"""Whether a running plugin may go on: each thing that can be taken back, and each that merely ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulator import EVERYTHING, NOW, Claims, Simulator
from tests.simulator.findings import waived, with_check, with_vulnerability
from verifier.errors import PluginRevoked, Refused
from verifier.formats.statement import CERTIFICATION
from verifier.formats.text import Time
from verifier.judging.decide import Request
from verifier.judging.standing import check_standing
from verifier.judging.verify import VerifiedPlugin


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest.fixture
def claims(sim: Simulator) -> Claims:
    return sim.claims(sim.wheel())


@pytest.fixture
def plugin(sim: Simulator, claims: Claims) -> VerifiedPlugin:
    return sim.verify(sim.wheel(), claims.sign())


def reason(plugin: VerifiedPlugin, sim: Simulator, request: Request = EVERYTHING) -> str:
    """The code of the refusal that a new load would get."""
    with pytest.raises(PluginRevoked) as caught:
        check_standing(plugin, sim.ground(), request)
    assert caught.value.code == "plugin.revoked"
    cause = caught.value.__cause__
    assert isinstance(cause, Refused)
    assert caught.value.found.startswith(f"[{cause.code}]")
    return cause.code


POLICY: dict[str, tuple[Callable[[Simulator], None], str]] = {
    "denied plugin": (lambda sim: sim.policy("denied_plugins", ["sample_plugin"]), "decision.denied"),
    "unknown plugin": (lambda sim: sim.policy("plugins.sample_plugin", None), "decision.unknown-plugin"),
    "empty allow-list": (lambda sim: sim.policy("plugins.sample_plugin.artifacts", []), "decision.denied"),
    "lowest version": (lambda sim: sim.policy("plugins.sample_plugin.min_version", "1.1"), "decision.min-version"),
    "builder revoked": (lambda sim: sim.policy("principals.builder.status", "revoked"), "signature.key-revoked"),
    "owner revoked": (lambda sim: sim.policy("principals.owner.status", "revoked"), "signature.key-revoked"),
    "certifier revoked": (lambda sim: sim.policy("principals.certifier.status", "revoked"), "signature.key-revoked"),
    "owner retired": (lambda sim: sim.policy("principals.owner.status", "retired"), "signature.key-retired"),
    "no builder": (lambda sim: sim.policy("plugins.sample_plugin.builders", []), "signature.wrong-signer"),
    "no owner": (lambda sim: sim.policy("plugins.sample_plugin.owners", []), "signature.wrong-signer"),
    "no certifier": (lambda sim: sim.policy("plugins.sample_plugin.certifiers", []), "signature.wrong-signer"),
    "certifier demoted": (lambda sim: sim.policy("certifiers.certifier.max_tier", "untrusted"), "certification.tier"),
    "tier gone": (lambda sim: sim.policy("tiers.core", None), "certification.tier"),
    "isolation": (lambda sim: sim.policy("tiers.core.isolation", "sandbox"), "decision.isolation"),
    "maturity": (lambda sim: sim.policy("tiers.core.maturities", ["beta"]), "decision.maturity"),
    "capability": (lambda sim: sim.policy("tiers.core.capabilities", []), "decision.capability"),
    "egress": (lambda sim: sim.policy("plugins.sample_plugin.egress", ["*.host.example2"]), "decision.egress"),
}  # fmt: skip


REBUILDER: dict[str, dict[str, Any]] = {
    "revoked": {"principals.rebuilder.status": "revoked"},
    "no longer named": {"plugins.sample_plugin.rebuilders": []},
    "unknown": {"plugins.sample_plugin.rebuilders": [], "principals.rebuilder": None},
}


@pytest.mark.parametrize("case", REBUILDER)
def test_a_rebuilder_who_no_longer_counts_is_missed_where_two_were_demanded(
    sim: Simulator, claims: Claims, case: str
) -> None:
    claims["rebuilder"] = sim.rebuild(sim.wheel(), "rebuilder")
    alone = sim.verify(sim.wheel(), claims.sign())
    sim.policy("tiers.core.builders", 2)
    plugin = sim.verify(sim.wheel(), claims.sign())
    check_standing(plugin, sim.ground(), EVERYTHING)
    for place, value in REBUILDER[case].items():
        sim.policy(place, value)
    assert reason(plugin, sim) == "provenance.threshold"
    sim.policy("tiers.core.builders", 1)
    check_standing(alone, sim.ground(), EVERYTHING)


def test_a_threshold_that_is_new_asks_for_what_a_running_plugin_cannot_bring(
    sim: Simulator, plugin: VerifiedPlugin
) -> None:
    sim.policy("tiers.core.builders", 2)
    check_standing(plugin, sim.ground(), EVERYTHING)


@pytest.mark.parametrize("case", POLICY)
def test_what_the_policy_takes_back_stops_it(sim: Simulator, plugin: VerifiedPlugin, case: str) -> None:
    change, code = POLICY[case]
    change(sim)
    assert reason(plugin, sim, Request()) == code


@pytest.mark.parametrize(("rating", "bound", "stops"), [
    ("medium", "low", True), ("medium", "medium", False), ("medium", None, True), ("none", None, True),
    ("unheard-of", "high", True), ("unheard-of", "critical", False), (None, None, False),
])  # fmt: skip
def test_a_lower_bound_on_known_vulnerabilities_stops_it(
    sim: Simulator, claims: Claims, rating: str | None, bound: str | None, stops: bool
) -> None:
    sim.add_findings(claims, sim.wheel())
    if rating is not None:
        with_vulnerability(claims["audit"].predicate, rating)
        claims.pin()
    plugin = sim.verify(sim.wheel(), claims.sign())
    sim.demand_findings(max_severity=bound)
    if stops:
        assert reason(plugin, sim) == "vulnerabilities.found"
    else:
        check_standing(plugin, sim.ground(), EVERYTHING)


def test_evidence_that_grows_old_stops_nothing(sim: Simulator, claims: Claims) -> None:
    sim.add_findings(claims, sim.wheel())
    with_check(claims["checks"].predicate, "egress-tests", waived(Time.of(NOW + timedelta(days=1))))
    claims.pin()
    sim.demand_findings()
    plugin = sim.verify(sim.wheel(), claims.sign())
    later = NOW + timedelta(days=20)  # audit and waiver have ended
    sim.publish_head(later)
    with pytest.raises(Refused) as caught:
        sim.verify(sim.wheel(), claims.sign(), later)
    assert caught.value.code == "vulnerabilities.too-old"
    check_standing(plugin, sim.ground(later), EVERYTHING)


def test_gaps_that_are_no_longer_excused_stop_nothing(sim: Simulator, claims: Claims) -> None:
    sim.add_findings(claims, sim.wheel())
    plugin = sim.verify(sim.wheel(), claims.sign())
    sim.demand_findings(not_audited="refuse", waivable=[], max_waiver=None, max_audit_age="PT1S")
    check_standing(plugin, sim.ground(), EVERYTHING)


def test_a_signer_who_is_gone_stops_it(sim: Simulator, plugin: VerifiedPlugin) -> None:
    sim.rules["plugins"]["sample_plugin"]["owners"] = []
    sim.policy("principals.owner", None)
    assert reason(plugin, sim) == "signature.unknown-signer"


def test_a_withdrawn_certification_stops_it(sim: Simulator, claims: Claims, plugin: VerifiedPlugin) -> None:
    sim.policy("withdrawn", [claims["certification"].digest])
    assert reason(plugin, sim) == "certification.withdrawn"


def test_the_list_stops_it(sim: Simulator, plugin: VerifiedPlugin) -> None:
    sim.revoke(plugin.artifact_digest)
    assert reason(plugin, sim) == "revoked.artifact"


def test_a_request_that_no_longer_fits_stops_it(sim: Simulator, plugin: VerifiedPlugin) -> None:
    assert reason(plugin, sim, replace(EVERYTHING, hermetic=True)) == "decision.hermetic"


def test_an_error_that_nobody_foresaw_stops_it(sim: Simulator, plugin: VerifiedPlugin) -> None:
    with pytest.raises(PluginRevoked) as caught:
        check_standing(replace(plugin, signers=None), sim.ground())
    assert caught.value.found.startswith("[internal.unexpected]")


def test_a_retired_key_that_is_accepted_for_it_stops_nothing(sim: Simulator, plugin: VerifiedPlugin) -> None:
    retired = sim.rules["principals"]["owner"] | {"status": "retired", "accepted": [plugin.artifact_digest]}
    sim.policy("principals.owner", retired)
    check_standing(plugin, sim.ground())


@pytest.mark.parametrize("status", ["retired", "revoked"])
def test_a_new_key_does_not_hide_what_became_of_the_one_it_was_signed_with(
    sim: Simulator, plugin: VerifiedPlugin, status: str
) -> None:
    new, old = sim.people["stranger"].public, sim.people["owner"].public.id
    sim.rules["keys"][new.id] = {"alg": new.alg, "spki": new.entry.spki}
    former = {"key": old, "status": status, "accepted": []}
    sim.policy("principals.owner", {"mode": "key", "key": new.id, "former": [former]})
    assert reason(plugin, sim) == f"signature.key-{status}"
    sim.policy("principals.owner.former", [])
    assert reason(plugin, sim) == "signature.unknown-signer"
    sim.policy("principals.owner.former", [former | {"status": "retired", "accepted": [plugin.artifact_digest]}])
    check_standing(plugin, sim.ground())


def test_another_owner_stops_it_unless_it_was_accepted(sim: Simulator, plugin: VerifiedPlugin) -> None:
    sim.policy("plugins.sample_plugin.owners", ["other-owner"])
    assert reason(plugin, sim) == "signature.wrong-signer"
    sim.policy("plugins.sample_plugin.former_owners", [{"owner": "owner", "accepted": [plugin.artifact_digest]}])
    check_standing(plugin, sim.ground())


def test_what_others_did_stops_nothing(sim: Simulator, plugin: VerifiedPlugin) -> None:
    sim.revoke("sha256:" + "0" * 64)
    sim.policy("denied_plugins", ["other_plugin"])
    sim.policy("principals.other-owner.status", "revoked")
    sim.policy("withdrawn", ["sha256:" + "0" * 64])
    check_standing(plugin, sim.ground())


def test_what_ends_stops_nothing(sim: Simulator, plugin: VerifiedPlugin) -> None:
    later = NOW + timedelta(days=300)  # certification, manifest, policy and list have ended
    sim.rules["head_keys"][0]["not_after"] = "2030-01-01T00:00:00Z"
    sim.policy("host_api", "1.1")
    check_standing(plugin, sim.ground(later))


def test_what_is_newly_asked_for_as_evidence_stops_nothing(sim: Simulator) -> None:
    claims = sim.claims(sim.wheel())
    del claims["certification"]
    plugin = sim.verify(sim.wheel(), claims.sign())
    assert (plugin.tier, CERTIFICATION in plugin.signers) == ("untrusted", False)
    sim.policy("tiers.untrusted.require", ["provenance", "sbom", "certification"])
    check_standing(plugin, sim.ground(), EVERYTHING)
