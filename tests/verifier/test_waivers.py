"""Waivers: what two people may let pass for one artifact, for a while; and everything that they may not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import HostedDeployment, code_of
from tests.simulator import NOW, PluginWheel, Simulator
from verifier.commands.doctor import Checkup, examine
from verifier.commands.inventory import take
from verifier.errors import Refused
from verifier.formats.policy import LONGEST_WAIVER, MAX_WAIVERS
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.formats.text import Time
from verifier.judging.verify import VerifiedPlugin, verify

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATE = NOW + timedelta(days=2)
"""When the certification has ended, and the list is a new one."""


def waiver(digest: str, lifts: str = "certification-expiry", **changes: Any) -> dict[str, Any]:
    return {
        "id": 1, "lifts": lifts, "artifact": digest, "granted": Time.of(LATE), "until": Time.of(LATE + DAY),
        "reason": "The certifier is on leave.", "asked_by": "oidc:sso:ann", "approved_by": "oidc:sso:ben",
    } | changes  # fmt: skip


class World:
    """A deployment in which the certification of one plugin has ended."""

    def __init__(self) -> None:
        self.sim = Simulator()
        self.wheel = self.sim.wheel()
        claims = self.sim.claims(self.wheel)
        claims["certification"].predicate[CERTIFICATION_FIELD]["expires"] = Time.of(NOW + DAY)
        self.attestations = claims.sign()
        self.digest = self.wheel.digest

    def grant(self, *waivers: dict[str, Any]) -> None:
        self.sim.policy("waivers", list(waivers), LATE)
        self.sim.publish_head(LATE)

    def verify(self, now: datetime = LATE, wheel: PluginWheel | None = None) -> VerifiedPlugin:
        chosen = wheel or self.wheel
        return verify(chosen.data, chosen.file_name, self.attestations, self.sim.ground(now), now)

    def code(self, now: datetime = LATE) -> str:
        with pytest.raises(Refused) as caught:
            self.verify(now)
        return caught.value.code


@pytest.fixture
def world() -> World:
    found = World()
    found.grant()
    return found


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_without_a_waiver_what_has_ended_is_refused(world: World) -> None:
    assert world.code() == "certification.expired"


@pytest.mark.parametrize(
    ("change", "moment"),
    [
        ({"until": Time.of(LATE)} | {"granted": Time.of(LATE - DAY)}, LATE),
        ({}, LATE + DAY),
        ({"granted": Time.of(LATE + timedelta(seconds=1))}, LATE),
        ({"artifact": "sha256:" + "0" * 64}, LATE),
        ({"lifts": "stale-list"}, LATE),
    ],
    ids=["expired", "expired at the moment passed in", "not begun", "of another artifact", "of another kind"],
)
def test_a_waiver_for_something_else_lifts_nothing(world: World, change: dict[str, Any], moment: datetime) -> None:
    world.grant(waiver(world.digest, **change))
    world.sim.publish_head(moment)
    assert world.code(moment) in ("certification.expired", "list.stale")


@pytest.mark.parametrize(
    "changes",
    [
        [{"approved_by": "oidc:sso:ann"}],
        [{"approved_by": "OIDC:sso:Ann"}],
        [{"asked_by": "oidc:sso:Zo\u00eb", "approved_by": "oidc:sso:Zoe\u0308"}],
        [{"until": Time.of(LATE + LONGEST_WAIVER + timedelta(seconds=1))}],
        [{"until": Time.of(LATE)}],
        [{"until": Time.of(LATE - HOUR)}],
        [{}, {"lifts": "stale-list"}],
        [{}, {"id": 2}],
    ],
    ids=[
        "one person",
        "one person, spelt otherwise",
        "one person, encoded otherwise",
        "too long",
        "no time",
        "back in time",
        "an id twice",
        "twice",
    ],
)
def test_a_policy_with_such_a_waiver_is_refused(world: World, changes: list[dict[str, Any]]) -> None:
    world.grant(*(waiver(world.digest, **change) for change in changes))
    with pytest.raises(Refused) as caught:
        world.sim.trust()
    assert caught.value.code == "trust.policy"


@pytest.mark.parametrize(
    "change",
    [
        {"lifts": "signature"}, {"lifts": "revoked"}, {"id": 0}, {"reason": ""}, {"approved_by": ""},
        {"asked_by": "\u202e"}, {"artifact": "*"}, {"until": "never"}, {"plugin": "sample_plugin"},
    ],
)  # fmt: skip
def test_a_malformed_waiver_is_refused(world: World, change: dict[str, Any]) -> None:
    world.grant(waiver(world.digest, **change))
    with pytest.raises(Refused) as caught:
        world.sim.trust()
    assert caught.value.code == "format.schema"


def test_there_are_not_many_waivers(world: World) -> None:
    many = [waiver(f"sha256:{number:064x}", id=number + 1) for number in range(MAX_WAIVERS + 1)]
    world.grant(*many)
    with pytest.raises(Refused) as caught:
        world.sim.trust()
    assert caught.value.code == "format.schema"


def test_a_waiver_that_nobody_signed_is_refused(world: World) -> None:
    stranger = "sha256:" + "0" * 64
    world.grant(waiver(stranger))
    files = world.sim.repository.targets_files
    for path, data in files.items():
        if stranger.encode() in data:
            files[path] = data.replace(stranger.encode(), world.digest.encode())
    with pytest.raises(Refused) as caught:
        world.sim.trust()
    assert caught.value.code == "trust.metadata"


def test_a_waiver_of_another_deployment_is_refused(world: World) -> None:
    world.grant(waiver(world.digest))
    world.sim.enrolled = "other"
    assert world.code() == "trust.deployment"


def test_a_waiver_lifts_no_revocation_and_no_rule(world: World) -> None:
    world.grant(waiver(world.digest))
    assert world.verify().waivers
    world.sim.revoke(world.digest, now=LATE)
    assert world.code() == "revoked.artifact"


def test_a_waiver_lifts_no_withdrawal(world: World) -> None:
    world.grant(waiver(world.digest))
    certification = next(digest for kind, digest in world.verify().statements.items() if "verification_summary" in kind)
    world.sim.rules["withdrawn"] = [certification]
    world.grant(waiver(world.digest))
    assert world.code() == "certification.withdrawn"


# -- what passes -------------------------------------------------------------------------------------------------------


def test_an_ended_certification_counts_while_the_waiver_does(world: World) -> None:
    world.grant(waiver(world.digest))
    facts = world.verify()
    assert [one.id for one in facts.waivers] == [1]
    (said,) = [text for text in facts.warnings if text.startswith("waiver 1")]
    assert "the end of the certification" in said
    assert "asked for by oidc:sso:ann, approved by oidc:sso:ben" in said
    assert "on leave" in said


def test_a_waiver_that_is_not_needed_is_not_told_of(world: World) -> None:
    world.grant(waiver(world.digest, lifts="stale-list"), waiver(world.digest, id=2))
    assert [one.id for one in world.verify().waivers] == [2]


# -- on a host ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def granted(hosted: HostedDeployment, wheel: Path, **changes: Any) -> None:
    digest = hosted.gate().verify(wheel).artifact_digest
    times = {"granted": Time.of(hosted.now), "until": Time.of(hosted.now + 3 * DAY)}
    hosted.policy("waivers", [waiver(digest, "stale-list", **times, **changes)])
    hosted.refresh()


def test_a_stale_list_serves_one_artifact_longer(hosted: HostedDeployment, caplog: pytest.LogCaptureFixture) -> None:
    wheel, other = hosted.plugin(), hosted.plugin(name="other-plugin")
    granted(hosted, wheel)
    hosted.pass_time(2 * DAY)
    gate = hosted.gate()
    assert code_of(lambda: gate.verify(other)) == "list.stale"
    with caplog.at_level(logging.WARNING):
        plugin = gate.load(wheel)
    assert plugin.entry_point("exporters", "hello")() == "hello"
    assert "is loaded by exception: waiver 1 lifts the end of the revocation list's life" in caplog.text
    found = examine(gate.ground, gate.home, take(gate, hosted.wheels), [], Checkup(hosted.now, timedelta(0)))
    assert [one.subject for one in found if one.name == "waived"] == [wheel.name]
    hosted.pass_time(DAY)
    assert code_of(lambda: gate.verify(wheel)) == "list.stale"


def test_a_revocation_that_arrives_stops_a_plugin_whatever_is_waived(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    granted(hosted, wheel)
    gate = hosted.gate()
    plugin = gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    assert code_of(plugin.check) == "plugin.revoked"
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"
