"""The clock moved past every expiry there is, one at a time: the code, the step, and the last good second before.

Our own expiry is the likeliest outage. Everything else is made to last, so that each case shows one end alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest

from tests.simulator import NOW, Claims, PluginWheel, Simulator
from tests.simulator.findings import waived, with_check
from verifier.codes import CODES
from verifier.errors import Refused
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.formats.text import Time

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
FAR = Time("2099-01-01T00:00:00Z")


class World:
    """A deployment in which nothing ends before 2099 unless a case says so; only the list ends after six hours."""

    def __init__(self) -> None:
        self.sim = Simulator()
        self.sim.policy("head_keys.0.not_after", FAR)
        self.sim.policy("valid_until", FAR)
        self.wheel: PluginWheel = self.sim.wheel()
        self.claims: Claims = self.sim.claims(self.wheel)
        self.claims["manifest"].predicate["expires_at"] = FAR
        self.claims["certification"].predicate[CERTIFICATION_FIELD]["expires"] = FAR
        self.claims.pin()

    def certify(self, tier: str) -> None:
        self.claims["certification"].predicate[CERTIFICATION_FIELD]["tier"] = tier

    def code_at(self, moment: datetime, list_age: timedelta | None = HOUR) -> str:
        """What a host says at ``moment``, with a list that was signed ``list_age`` before, or at the start."""
        if list_age is not None:
            self.sim.publish_head(moment - list_age)
        try:
            self.sim.verify(self.wheel, self.claims.sign(), moment)
        except Refused as error:
            return error.code
        return "verified"


class End(NamedTuple):
    """One thing that ends: how it is made to end ``after`` the start, and the code from then on."""

    what: str
    after: timedelta
    code: str
    arrange: Callable[[World, Time], None]
    list_age: timedelta | None = HOUR


def _policy(path: str) -> Callable[[World, Time], None]:
    return lambda world, end: world.sim.policy(path, end)


def _manifest(world: World, end: Time) -> None:
    world.claims["manifest"].predicate["expires_at"] = end
    world.claims.pin()


def _certification(world: World, end: Time) -> None:
    world.claims["certification"].predicate[CERTIFICATION_FIELD]["expires"] = end


def _waiver(world: World, end: Time) -> None:
    world.sim.add_findings(world.claims, world.wheel)
    with_check(world.claims["checks"].predicate, "egress-tests", waived(end))
    world.claims.pin()
    world.claims["certification"].predicate[CERTIFICATION_FIELD]["expires"] = FAR


def _tier(tier: str) -> Callable[[World, Time], None]:
    return lambda world, _end: world.certify(tier)


def _longest_grace(world: World, _end: Time) -> None:
    world.certify("core")
    world.sim.policy("tiers.core.grace", "P7D")


def _no_grace(world: World, _end: Time) -> None:
    world.sim.policy("tiers", {"core": {"isolation": "in-process", "require": ["certification"]}})


ENDS = [
    End("the policy", timedelta(days=30), "trust.expired", _policy("valid_until")),
    End("the head key", timedelta(days=60), "list.key-expired", _policy("head_keys.0.not_after")),
    End("the manifest", timedelta(days=200), "manifest.expired", _manifest),
    End("the certification", timedelta(days=100), "certification.expired", _certification),
    End("the waiver of a check", timedelta(days=20), "checks.waiver-expired", _waiver),
    End("the list, at a tier without grace", 6 * HOUR, "list.stale", _tier("untrusted"), None),
    End("the list, at a tier with 24 hours of grace", 30 * HOUR, "list.stale", _tier("core"), None),
    End("the list, at a tier with 48 hours of grace", 54 * HOUR, "list.stale", _tier("vetted"), None),
    End("the list, at the tier with the longest grace", timedelta(days=7, hours=6), "list.stale", _longest_grace, None),
    End("the list, where no tier has grace", 6 * HOUR, "list.stale", _no_grace, None),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.what)
@pytest.mark.parametrize("late", [timedelta(0), SECOND, timedelta(days=1)])
def test_from_its_end_on_it_is_refused(end: End, late: timedelta) -> None:
    world = World()
    end.arrange(world, Time.of(NOW + end.after))
    assert world.code_at(NOW + end.after + late, end.list_age) == end.code


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.what)
def test_one_second_before_it_is_not(end: End) -> None:
    world = World()
    end.arrange(world, Time.of(NOW + end.after))
    assert world.code_at(NOW + end.after - SECOND, end.list_age) == "verified"


def test_every_code_that_says_that_time_is_over_has_a_case() -> None:
    # What no step of verification asks about (handovers, layouts) ends without a host noticing.
    over = {code for code, info in CODES.items() if info.step is not None and code.endswith(("expired", ".stale"))}
    assert {end.code for end in ENDS} == over


ROLES = ("root", "timestamp", "snapshot", "targets", "checkpoints")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("late", [-SECOND, timedelta(0), SECOND, timedelta(days=3650)])
def test_the_end_of_trust_metadata_governs_refreshing_and_not_loading(role: str, late: timedelta) -> None:
    world = World()
    end = world.sim.trust().roles[role].expires
    assert end < FAR.instant
    assert world.code_at(end + late) == "verified"


def test_every_role_of_trust_has_an_end_that_was_tried() -> None:
    assert set(Simulator().trust().roles) == set(ROLES)


# -- the other direction: clocks that are behind, and what comes from the future ---------------------------------------


@pytest.mark.parametrize(("behind", "code"), [(300, "verified"), (301, "clock.behind"), (86400 * 365, "clock.behind")])
def test_a_clock_may_be_behind_the_list_by_five_minutes(behind: int, code: str) -> None:
    assert World().code_at(NOW - timedelta(seconds=behind), None) == code


@pytest.mark.parametrize(("behind", "code"), [(300, "verified"), (301, "clock.behind")])
def test_a_clock_may_be_behind_what_was_seen_by_five_minutes(behind: int, code: str) -> None:
    world = World()
    world.sim.time_floor = Time.of(NOW + HOUR)
    assert world.code_at(NOW + HOUR - timedelta(seconds=behind), None) == code


@pytest.mark.parametrize(("ahead", "code"), [(300, "verified"), (301, "list.future")])
def test_a_list_may_be_from_the_future_by_five_minutes(ahead: int, code: str) -> None:
    assert World().code_at(NOW, timedelta(seconds=-ahead)) == code


def test_what_ended_between_a_lagging_clock_and_the_signed_time_is_over() -> None:
    world = World()
    _manifest(world, Time.of(NOW + timedelta(minutes=2)))
    assert world.code_at(NOW, None) == "verified"
    world.sim.time_floor = Time.of(NOW + timedelta(minutes=3))
    assert world.code_at(NOW, None) == "manifest.expired"


def test_leaving_the_certification_out_does_not_outlive_it() -> None:
    world = World()
    _certification(world, Time.of(NOW + HOUR))
    assert world.code_at(NOW + HOUR) == "certification.expired"
    del world.claims["certification"]
    assert world.sim.verify(world.wheel, world.claims.sign(), NOW + HOUR).tier == "untrusted"
