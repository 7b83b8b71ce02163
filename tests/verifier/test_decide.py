"""The decision: verified facts against the policy and the host's request, exhaustively where that is possible."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulator import EVERYTHING, Simulator
from verifier.errors import Refused, UsageError
from verifier.formats.manifest import CLASSIFICATIONS, ISOLATIONS
from verifier.formats.policy import TIERS
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.judging.decide import ADMISSION, ANY, Request

SIM = Simulator()


def outcome(sim: Simulator, request: Request = EVERYTHING, tier: str | None = "core", **manifest: Any) -> str:
    """The tier, or the code of the refusal, of a plugin certified for ``tier`` with this manifest."""
    wheel = sim.wheel()
    claims = sim.claims(wheel)
    claims["manifest"].predicate |= manifest
    claims["certification"].predicate[CERTIFICATION_FIELD]["tier"] = tier
    claims.pin()
    if tier is None:
        del claims["certification"]
    try:
        return sim.verify(wheel, claims.sign(), request=request).tier
    except Refused as error:
        assert error.step == 12
        return error.code


@pytest.mark.parametrize(("asked", "certified"), list(itertools.product(TIERS, TIERS)))
def test_a_host_gets_no_less_trust_than_it_asks_for(asked: str, certified: str) -> None:
    request = replace(EVERYTHING, tier=asked)
    good = TIERS.index(certified) >= TIERS.index(asked)
    assert outcome(SIM, request, certified) == (certified if good else "decision.tier")


@pytest.mark.parametrize("size", range(4))
def test_a_tier_runs_only_where_its_isolation_is(size: int) -> None:
    for available in itertools.combinations(ISOLATIONS, size):
        request = replace(EVERYTHING, isolations=frozenset(available))
        for tier, needed in (("core", "in-process"), ("vetted", "process"), ("untrusted", "sandbox")):
            assert outcome(SIM, request, tier) == (tier if needed in available else "decision.isolation")


@pytest.mark.parametrize(("accepted", "tier"), list(itertools.product(ISOLATIONS, TIERS)))
def test_a_tier_isolates_no_less_than_the_owner_accepts(accepted: str, tier: str) -> None:
    given = {"core": "in-process", "vetted": "process", "untrusted": "sandbox"}[tier]
    good = ISOLATIONS.index(given) >= ISOLATIONS.index(accepted)
    assert outcome(SIM, EVERYTHING, tier, isolation=accepted) == (tier if good else "decision.isolation")


@pytest.mark.parametrize(("asked", "declared"), list(itertools.product(CLASSIFICATIONS, CLASSIFICATIONS)))
def test_data_is_classified_no_higher_than_declared(asked: str, declared: str) -> None:
    request = replace(EVERYTHING, classification=asked)
    good = CLASSIFICATIONS.index(asked) <= CLASSIFICATIONS.index(declared)
    assert outcome(SIM, request, max_classification=declared) == ("core" if good else "decision.classification")


@pytest.mark.parametrize(
    ("admitted", "declared", "good"),
    [
        (None, ["archive.host.example"], True),
        ([], ["archive.host.example"], False),
        ([], [], True),
        (["archive.host.example"], ["archive.host.example"], True),
        (["*.host.example"], ["archive.host.example"], True),
        (["*.host.example"], ["*.host.example"], True),
        (["*.host.example"], ["*.archive.host.example"], True),
        (["*.host.example"], ["host.example"], False),
        (["*.host.example"], ["evilhost.example"], False),
        (["*.host.example"], ["host.example.evil"], False),
        (["archive.host.example"], ["*.host.example"], False),
        (["archive.host.example"], ["*.archive.host.example"], False),
        (["*.archive.host.example"], ["*.host.example"], False),
        (["a.host.example", "b.host.example"], ["a.host.example", "b.host.example"], True),
        (["a.host.example"], ["a.host.example", "b.host.example"], False),
    ],
)
def test_egress_lies_within_what_the_policy_admits(admitted: list[str] | None, declared: list[str], good: bool) -> None:
    sim = Simulator()
    if admitted is not None:
        sim.policy("plugins.sample_plugin.egress", admitted)
    egress = [{"host": host, "schemes": ["https"], "ports": [443]} for host in declared]
    assert outcome(sim, allowed_egress=egress) == ("core" if good else "decision.egress")


@pytest.mark.parametrize(
    ("lowest", "version", "good"),
    [
        ("1.0", "1.0", True), ("1.0", "1.0.post1", True), ("1.0", "1.0+local", True), ("1.0", "2!0.1", True),
        ("1.0", "1.0rc1", False), ("1.0", "1.0.dev1", False), ("1.10", "1.9", False), ("2!1.0", "9.0", False),
        ("1.0+b", "1.0+a", False),
    ],
)  # fmt: skip
def test_versions_are_compared_as_versions(lowest: str, version: str, good: bool) -> None:
    sim = Simulator()
    sim.policy("plugins.sample_plugin.min_version", lowest)
    wheel = sim.wheel(version=version)
    try:
        found = sim.verify(wheel, sim.attest(wheel)).tier
    except Refused as error:
        found = error.code  # type: ignore[assignment]
    assert found == ("core" if good else "decision.min-version")


@pytest.mark.parametrize("capabilities", [[], ["logging"], ["network"], ["network", "logging"]])
@pytest.mark.parametrize("hermetic", [True, False])
def test_capabilities_and_hermetic_runs(capabilities: list[str], hermetic: bool) -> None:
    sim = Simulator()
    sim.policy("tiers.core.capabilities", capabilities)
    request = replace(EVERYTHING, hermetic=hermetic)
    expected = "core" if "network" in capabilities else "decision.capability"
    assert outcome(sim, request, hermetic_compatible=True) == expected
    if expected == "core":
        assert outcome(sim, request) == ("decision.hermetic" if hermetic else "core")


@pytest.mark.parametrize(
    ("place", "value", "good"),
    [
        ("denied_plugins", ["sample_plugin"], False), ("denied_plugins", ["sample"], True),
        ("denied_artifacts", [SIM.wheel().digest], False), ("denied_artifacts", ["sha256:" + "0" * 64], True),
        ("plugins.sample_plugin.artifacts", [SIM.wheel().digest], True), ("plugins.sample_plugin.artifacts", [], False),
    ],
)  # fmt: skip
def test_deny_and_allow_lists(place: str, value: list[str], good: bool) -> None:
    sim = Simulator()
    sim.policy(place, value)
    assert outcome(sim) == ("core" if good else "decision.denied")


@pytest.mark.parametrize(("place", "good"), [("plugins", False), ("artifacts", False), ("others", True)])
def test_what_is_denied_does_not_come_along_as_a_dependency(place: str, good: bool) -> None:
    sim = Simulator()
    wheel, locked = sim.wheel(), sim.wheel("evil-plugin", "1.0")
    sim.policy("denied_plugins", ["evil_plugin"] if place == "plugins" else ["evil"])
    sim.policy("denied_artifacts", [locked.digest] if place == "artifacts" else [])
    claims = sim.claims(wheel)
    sim.lock(claims, locked)
    if good:
        assert sim.verify(wheel, claims.sign(), request=ADMISSION).tier == "core"
        return
    with pytest.raises(Refused) as caught:
        sim.verify(wheel, claims.sign(), request=ADMISSION)
    assert (caught.value.code, caught.value.step) == ("decision.denied", 12)
    assert "evil-plugin 1.0" in caught.value.found


def test_deny_beats_allow() -> None:
    sim = Simulator()
    sim.policy("plugins.sample_plugin.artifacts", [sim.wheel().digest])
    sim.policy("denied_artifacts", [sim.wheel().digest])
    assert outcome(sim) == "decision.denied"


def test_a_registry_admits_what_it_could_not_run() -> None:
    assert [outcome(SIM, ADMISSION, tier) for tier in (*TIERS, None)] == [*TIERS, "untrusted"]
    assert [outcome(SIM, ANY, tier) for tier in TIERS] == ["decision.isolation", "decision.isolation", "core"]


@pytest.mark.parametrize(
    "asked", [{"tier": "platinum"}, {"classification": "cosmic"}, {"isolations": frozenset({"in-process", "moat"})}]
)
def test_a_request_for_what_does_not_exist_is_wrong_usage(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Request(**asked)
    assert caught.value.code == "usage.configuration"


# -- API versions that the host adapts ---------------------------------------------------------------------------------


def api(accepted: str, *adapted: str) -> str | None:
    """By which API version a plugin that takes these is called by a host of 1.0, or the code of the refusal."""
    wheel = SIM.wheel()
    claims = SIM.claims(wheel)
    claims["manifest"].predicate["api_version"] = accepted
    claims.pin()
    adapters = dict.fromkeys(adapted, lambda group, name, found: found)
    try:
        return SIM.verify(wheel, claims.sign(), request=replace(EVERYTHING, adapters=adapters)).api
    except Refused as error:
        return error.code


@pytest.mark.parametrize(
    ("accepted", "adapted", "expected"),
    [
        (">=1.0", [], "1.0"),
        (">=0.1", ["0.9"], "1.0"),  # its own comes first
        ("<1.0", [], "manifest.api-version"),
        ("<1.0", ["0.9"], "0.9"),
        ("<1.0", ["0.9", "0.10", "0.1"], "0.10"),  # versions, not texts
        (">=2.0", ["0.9"], "manifest.api-version"),
    ],
)
def test_an_older_api_is_taken_where_the_host_adapts_it(accepted: str, adapted: list[str], expected: str) -> None:
    assert api(accepted, *adapted) == expected


def test_what_is_no_version_is_adapted_by_nobody() -> None:
    with pytest.raises(UsageError) as caught:
        Request(adapters={"one": lambda group, name, found: found})
    assert caught.value.code == "usage.configuration"


# -- strict runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maturity", ["alpha", "beta", "stable", "deprecated"])
def test_a_strict_run_has_nothing_to_warn_of(maturity: str) -> None:
    outcomes = {outcome(SIM, replace(EVERYTHING, strict=strict), maturity=maturity) for strict in (False, True)}
    assert outcomes == ({"core", "decision.strict"} if maturity in ("alpha", "deprecated") else {"core"})
