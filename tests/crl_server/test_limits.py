"""How many writes somebody may send."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from crl_server.access.roles import STAFF
from crl_server.api import limits
from crl_server.api.limits import Buckets, Rate, TooMany, Writes
from crl_server.processes import quotas
from crl_server.processes.board import sheets
from crl_server.processes.quotas import SharedBuckets
from crl_server.service import Authority
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, made
from tests.crl_server.live import Live
from tests.project.tree import ROOT
from verifier.formats.strict_json import dumps
from verifier.formats.text import Name

pytestmark = pytest.mark.usefixtures("engine")

SECOND = timedelta(seconds=1)


@pytest.fixture(params=["own", "shared"])
def kind(request: pytest.FixtureRequest) -> Iterator[Callable[[Rate], Writes]]:
    """Buckets of a process of its own, and those that a team shares."""
    if request.param == "own":
        yield Buckets
        return
    with sheets(2) as (_, _, common):
        yield partial(SharedBuckets, common)


def test_a_burst_passes_and_then_a_steady_rate(kind: Callable[[Rate], Writes]) -> None:
    buckets = kind(Rate(burst=3, each_second=0.5))
    for _ in range(3):
        buckets.take("a", NOW)
    with pytest.raises(TooMany) as caught:
        buckets.take("a", NOW)
    assert (caught.value.code, caught.value.seconds) == ("request.rate", 2)
    buckets.take("b", NOW)  # who has a bucket of their own
    with pytest.raises(TooMany):
        buckets.take("a", NOW + SECOND)
    buckets.take("a", NOW + 2 * SECOND)
    with pytest.raises(TooMany):
        buckets.take("a", NOW + 2 * SECOND)


def test_no_more_than_a_burst_gathers_and_no_clock_that_goes_back_gives_any(kind: Callable[[Rate], Writes]) -> None:
    buckets = kind(Rate(burst=1, each_second=1))
    buckets.take("a", NOW)
    buckets.take("a", NOW + 100 * SECOND)
    for moment in (NOW + 100 * SECOND, NOW, NOW - 100 * SECOND):
        with pytest.raises(TooMany):
            buckets.take("a", moment)


def test_no_more_identities_are_remembered_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 2)
    buckets = Buckets(Rate(burst=1, each_second=1))
    for actor in "abc":
        buckets.take(actor, NOW)
    for actor in "bc":
        with pytest.raises(TooMany):
            buckets.take(actor, NOW)
    buckets.take("a", NOW)


def test_workers_of_a_team_count_together() -> None:
    rate = Rate(burst=3, each_second=0.5)
    with sheets(2) as (_, _, common):
        here, there = SharedBuckets(common, rate), SharedBuckets(common, rate)
        here.take("a", NOW)
        there.take("a", NOW)
        script = (
            "import sys; from datetime import datetime; from crl_server.processes.quotas import SharedBuckets;"
            "from crl_server.api.limits import Rate;"
            "SharedBuckets(int(sys.argv[1]), Rate(3, 0.5)).take('a', datetime.fromisoformat(sys.argv[2]))"
        )
        words = [sys.executable, "-c", script, str(common), NOW.isoformat()]
        subprocess.run(words, pass_fds=[common], check=True, cwd=ROOT)
        for worker in (here, there):
            with pytest.raises(TooMany):
                worker.take("a", NOW)
        there.take("b", NOW)


def test_who_wrote_the_longest_ago_is_forgotten_by_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "GROUPS", 1)
    with sheets(1) as (_, common):
        buckets = SharedBuckets(common, Rate(burst=1, each_second=0.001))
        for number in range(quotas.PLACES + 1):
            buckets.take(f"actor {number}", NOW + number * SECOND)
        later = NOW + quotas.PLACES * SECOND
        for number in range(1, quotas.PLACES + 1):
            with pytest.raises(TooMany):
                buckets.take(f"actor {number}", later)
        buckets.take("actor 0", later)


def test_who_writes_too_fast_is_told_when_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = made(tmp_path_factory.mktemp("limits") / "acme")
    one, other = (authority.create_token(Name(name), STAFF, DAY, ACTOR, NOW) for name in ("one", "other"))
    with Live(authority, rate=Rate(burst=2, each_second=0.1)) as live:

        def revoke(token: str, label: object) -> int:
            body = dumps({"digests": [digest(label)], "reason": "malicious"})
            return live.ask("POST", "/v1/revocations", token, body).status

        assert [revoke(one, label) for label in range(4)] == [201, 201, 429, 429]
        refused = live.ask("POST", "/v1/rules", one, b"{}")
        assert (refused.json["code"], refused.headers["retry-after"]) == ("request.rate", "10")
        assert not authority.standing(NOW).revocations.lists(digest(2))
        assert live.ask("GET", "/v1/revocations", one).status == 200
        assert revoke(other, 2) == 201
        live.now = NOW + 10 * SECOND
        assert [revoke(one, 3), revoke(one, 3)] == [201, 429]
    authority.close()


def test_the_rate_is_what_the_settings_say_in_api_and_console(tmp_path: Path) -> None:
    made(tmp_path / "acme").close()
    (tmp_path / "acme" / "server" / "settings.toml").write_text(
        "[limits]\nwrites_at_once = 1\nwrites_each_second = 0.05\n"
    )
    authority = Authority(tmp_path / "acme")
    token = authority.create_token(Name("one"), STAFF, DAY, ACTOR, NOW)
    with Live(authority, rate=None) as live:
        visitor = Visitor(live, token)
        form = visitor.fields(visitor.page("/revoke"), "/revoke/review")
        assert live.ask("POST", "/v1/rules", token, b"{}").status == 422
        refused = live.ask("POST", "/v1/rules", token, b"{}")
        assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (429, "request.rate", "20")
        shown = visitor.post("/revoke/review", form)
        assert (shown.status, shown.headers["retry-after"]) == (429, "20")
    authority.close()
