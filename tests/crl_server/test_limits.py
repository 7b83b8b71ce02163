"""How many writes somebody may send."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from crl_server.access.roles import STAFF
from crl_server.api import limits
from crl_server.api.limits import Buckets, Rate, TooMany
from crl_server.service import Authority
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, made
from tests.crl_server.live import Live
from verifier.formats.strict_json import dumps
from verifier.formats.text import Name

SECOND = timedelta(seconds=1)


def test_a_burst_passes_and_then_a_steady_rate() -> None:
    buckets = Buckets(Rate(burst=3, each_second=0.5))
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


def test_no_more_than_a_burst_gathers_and_no_clock_that_goes_back_gives_any() -> None:
    buckets = Buckets(Rate(burst=1, each_second=1))
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
