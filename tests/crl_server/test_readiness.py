"""``/readyz`` tells the truth, and what is about to expire is told of long before."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta

import pytest

from crl_server.operating.expiries import Expiry
from crl_server.operating.readiness import check_ready
from crl_server.processes.chores import Maintenance, Reminder
from crl_server.service import Authority
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import DAY, HOUR, NOW
from tests.crl_server.live import Live
from tests.waiting import until
from verifier.errors import LoadlockError


def lose_the_database(authority: Authority) -> None:
    authority.store.close()
    for path in authority.layout.database.parent.glob("loadlock.sqlite*"):
        path.write_bytes(b"not a database " * 1000)


def lose_the_head_key(authority: Authority) -> None:
    (authority.layout.online / "head.pem").unlink()


def take_another_head_key(authority: Authority) -> None:
    (authority.layout.online / "head.pem").unlink()
    SigningKey.generate("ed25519").write(authority.layout.online / "head.pem")


def damage_the_list(authority: Authority) -> None:
    authority.layout.head.write_bytes(b"{}")


def damage_the_trust(authority: Authority) -> None:
    (authority.layout.trust / "metadata" / "timestamp.json").write_bytes(b"{}")


DAMAGES: list[Callable[[Authority], None]] = [
    lose_the_database, lose_the_head_key, take_another_head_key, damage_the_list, damage_the_trust,
]  # fmt: skip


def test_a_sound_service_is_ready(authority: Authority) -> None:
    assert check_ready(authority, NOW).revocations.head.seq == 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_keeps_it_from_its_work_makes_it_unready(
    authority: Authority, damage: Callable[[Authority], None]
) -> None:
    with Live(authority) as live:
        assert live.ask("GET", "/readyz").status == 200
        damage(authority)
        answer = live.ask("GET", "/readyz")
        assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.json["code"] in {"server.not-ready", "trust.metadata"}
        assert live.ask("GET", "/healthz").status == 200  # the process itself lives, and need not be started anew


def test_a_tree_that_cannot_be_written_makes_it_unready(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # for root every directory can be written
    with pytest.raises(LoadlockError) as refusal:
        check_ready(authority, NOW)
    assert refusal.value.code == "server.not-ready"


@pytest.mark.parametrize("after", [25 * HOUR, 8 * DAY, 31 * DAY, 400 * DAY])
def test_what_has_expired_makes_it_unready(authority: Authority, after: timedelta) -> None:
    with pytest.raises(LoadlockError) as refusal:
        check_ready(authority, NOW + after)
    assert refusal.value.code == "server.not-ready"


def test_a_policy_that_has_expired_makes_it_unready_though_the_list_is_signed_again(authority: Authority) -> None:
    authority.maintain(NOW + 29 * DAY + 12 * HOUR)
    check_ready(authority, NOW + 29 * DAY + 12 * HOUR)
    with pytest.raises(LoadlockError) as refusal:
        check_ready(authority, NOW + 30 * DAY)
    assert (refusal.value.code, "metadata has expired" in refusal.value.what) == ("server.not-ready", True)


# -- told of beforehand ------------------------------------------------------------------------------------------------


def test_the_last_third_of_a_life_is_told_of() -> None:
    found = Expiry("policy", "the policy", NOW + 30 * DAY, 30 * DAY, "people")
    assert [found.near(NOW + days * DAY) for days in (0, 19, 20, 21, 31)] == [False, False, False, True, True]
    assert found.told(NOW) == "the policy expires at 2026-03-02T12:00:00Z"
    assert found.told(NOW + 31 * DAY) == "the policy expired at 2026-03-02T12:00:00Z"
    assert "the server could not renew it" in found._replace(renewed_by="service").told(NOW)


def test_what_the_service_fails_to_renew_is_told_of_before_it_expires(authority: Authority) -> None:
    assert authority.warnings(NOW + 15 * HOUR) == ()
    warned = authority.warnings(NOW + 17 * HOUR)
    assert len(warned) == 2
    assert all("the server could not renew it so far" in warning for warning in warned)


def test_reminders_come_once_and_then_daily(caplog: pytest.LogCaptureFixture) -> None:
    reminder = Reminder()
    for hours in (0, 1, 23, 24, 25, 48):
        reminder.tell(["the policy expires"], NOW + hours * HOUR)
    assert len(caplog.records) == 3
    reminder.tell([], NOW + 49 * HOUR)
    reminder.tell(["the policy expires", "the root expires"], NOW + 50 * HOUR)
    assert len(caplog.records) == 5


def test_a_server_that_runs_for_long_reminds_too(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    moment = NOW + 21 * DAY
    with caplog.at_level(logging.WARNING), Maintenance(authority, lambda: moment, interval=0.01):
        until(lambda: any("the policy expires at" in record.message for record in caplog.records))
