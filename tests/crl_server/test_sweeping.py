"""Revoking many at once: one step of the list, all or none; and never everything by mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crl_server.api import sweeps
from crl_server.lists import rules
from crl_server.records.audit import parse_entry
from crl_server.revocation.reinstating import Wish
from crl_server.revocation.revoking import Order
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, made, revoke
from tests.crl_server.live import Answer, Live, denials, refusal
from tests.crl_server.takebacks import Reader, admit, checkpoint, subject
from tests.crl_server.test_osv_rules import advisory
from verifier.errors import Refused
from verifier.formats.text import Name

pytestmark = pytest.mark.usefixtures("engine")

REQUESTS = {"kind": "component", "match": {"purl": "pkg:pypi/requests", "range": "<2.32"}}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    authority = made(tmp_path / "acme")
    for label in "abc":
        admit(authority, subject(label, plugin=f"plugin_{label}"))
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture
def token(live: Live) -> str:
    return live.authority.create_token(Name("revoker"), ["revoker"], DAY, ACTOR, NOW)


def sweep(live: Live, token: str, **body: Any) -> Answer:
    headers = {"Idempotency-Key": str(body.pop("key"))} if "key" in body else {}
    document = {"reason": "vulnerability", **body}
    return live.ask("POST", "/v1/revocations/bulk", token, json.dumps(document).encode(), headers)


def recorded(authority: Authority, action: str) -> list[Any]:
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    return [entry for entry in entries if entry.action == action]


def test_digests_rules_and_advisories_are_one_step(live: Live, token: str) -> None:
    seq = revoke(live.authority, "before")
    body = {
        "digests": [digest(label) for label in ("before", "x", "y")],
        "rules": [{"kind": "plugin", "match": {"id": "plugin_a"}, "severity": "low"}],
        "osv": [advisory([{"introduced": "0"}, {"fixed": "9"}], database_specific={"severity": "HIGH"})],
        "note": "all of it",
        "severity": "medium",
    }
    answer = sweep(live, token, **body)
    assert answer.status == 201, answer
    told = answer.json
    assert (told["seq"], told["listed"], told["already"], told["in_force"]) == (seq + 1, 3, 1, 0)
    assert set(told["digests"]) == {digest("x"), digest("y"), digest("a")}
    published = live.authority.standing(NOW).revocations
    assert all(published.lists(digest(label)) for label in ("before", "x", "y", "a"))
    assert [rule.id for rule in published.rules.rules] == told["rules"] == ["R1", "R2"]
    assert [rule.match for rule in published.rules.rules][1] == {"purl": "pkg:pypi/some-lib", "range": "<9"}
    rows = live.ask("GET", "/v1/revocations", token).json["revocations"]
    severities = {row["digest"]: row.get("severity") for row in rows}
    assert (severities[digest("x")], severities[digest("a")]) == ("medium", "low")
    (entry,) = recorded(live.authority, "list.sweep")
    assert (entry.actor, entry.detail["listed"], entry.detail["rules"]) == ("token:revoker", 3, 2)
    assert [entry.detail["severity"] for entry in recorded(live.authority, "rule.add")] == ["low", "high"]
    assert len(recorded(live.authority, "artifact.revoke")) == 1 + 3


def test_a_feed_that_is_taken_again_adds_nothing(live: Live, token: str) -> None:
    feed = [advisory([{"introduced": "0"}, {"fixed": "2"}])]
    first = sweep(live, token, osv=feed).json
    again = sweep(live, token, osv=feed).json
    assert (again["seq"], again["listed"], again["rules"], again["in_force"]) == (first["seq"], 0, [], 1)
    more = sweep(live, token, osv=[*feed, advisory([{"introduced": "3"}])]).json
    assert (more["seq"], more["rules"], more["in_force"]) == (first["seq"] + 1, ["R2"], 1)


def test_what_rules_match_today_can_be_revoked_without_the_rules(live: Live, token: str) -> None:
    told = sweep(live, token, rules=[REQUESTS], resolve=True).json
    assert (told["listed"], told["rules"]) == (3, [])
    published = live.authority.standing(NOW).revocations
    assert published.rules.rules == ()
    assert all(published.lists(digest(label)) for label in "abc")
    assert sweep(live, token, rules=[{"kind": "plugin", "match": {"id": "other"}}], resolve=True).json["listed"] == 0


def test_a_dry_run_tells_the_blast_radius_and_changes_nothing(live: Live, token: str) -> None:
    before = live.authority.standing(NOW).revocations.head.seq
    answer = sweep(live, token, rules=[REQUESTS], digests=[digest("a"), digest("x")], dry_run=True)
    assert (answer.status, answer.json["artifacts"]) == (200, 3)
    assert answer.json["plugins"] == ["plugin_a", "plugin_b", "plugin_c"]
    assert live.authority.standing(NOW).revocations.head.seq == before
    assert recorded(live.authority, "list.sweep") == []


def test_a_sweep_under_one_key_is_done_once(live: Live, token: str) -> None:
    first = sweep(live, token, key="once", digests=[digest("x")])
    again = sweep(live, token, key="once", digests=[digest("x")])
    assert (first.status, first.body) == (again.status, again.body)
    refusal(sweep(live, token, key="once", digests=[digest("y")]), 422, "request.idempotency")
    assert len(recorded(live.authority, "list.sweep")) == 1


def test_hosts_take_what_a_sweep_publishes(live: Live, token: str) -> None:
    host = Reader(live.authority)
    host.refresh()
    sweep(live, token, rules=[REQUESTS], digests=[digest("x")])
    host.refresh()
    assert host.denies(subject("a"))
    assert host.denies(subject("new"))  # by the rule
    assert host.current is not None
    assert host.current.lists(digest("x"))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "usage.arguments"),
        ({"digests": [digest(1), digest(1)]}, 400, "usage.arguments"),
        ({"digests": ["sha256:00"]}, 422, "format.schema"),
        ({"digests": [digest(1)], "reason": "because"}, 422, "format.schema"),
        ({"digests": [digest(1)], "severity": "huge"}, 422, "format.schema"),
        ({"rules": [{"kind": "component", "match": {"purl": "x"}}]}, 400, "usage.arguments"),
        ({"osv": [{"id": "X"}]}, 422, "format.schema"),
        ({"osv": [advisory([{"introduced": "new"}])]}, 422, "format.schema"),
        ({"digests": [digest(1)], "osv": [advisory()]}, 422, "format.schema"),
    ],
)
def test_a_sweep_that_is_wrong_anywhere_is_refused_whole(
    live: Live, token: str, body: dict[str, Any], status: int, code: str
) -> None:
    before = live.authority.standing(NOW).revocations.head.seq
    refusal(sweep(live, token, **body), status, code)
    assert live.authority.standing(NOW).revocations.head.seq == before


def test_an_oversized_sweep_is_refused(live: Live, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "MAX_BODY", 1000)
    refusal(sweep(live, token, note="x" * 900, osv=[{"x": "y" * 900}]), 413, "format.too-large")


# -- never everything by mistake ---------------------------------------------------------------------------------------


@pytest.fixture
def many(live: Live) -> list[str]:
    """Thirty more, which all bring requests along."""
    labels = [f"m{number}" for number in range(30)]
    for label in labels:
        admit(live.authority, subject(label))
    return labels


def test_a_revocation_of_everything_is_refused_until_it_is_confirmed(live: Live, token: str, many: list[str]) -> None:
    before, recorded_before = live.authority.standing(NOW).revocations.head.seq, denials(live.authority)
    everything = {"digests": [digest(label) for label in (*"abc", *many)]}
    told = refusal(sweep(live, token, **everything), 409, "revocation.reach")
    assert (told["found"], told["expected"][:10]) == ("33 of 33 admitted artifacts", "at most 20")
    refusal(sweep(live, token, rules=[REQUESTS]), 409, "revocation.reach")
    refusal(sweep(live, token, rules=[REQUESTS], resolve=True), 409, "revocation.reach")
    refusal(sweep(live, token, rules=[REQUESTS], confirm=32), 409, "revocation.reach")
    revocation = json.dumps({**everything, "reason": "malicious"}).encode()
    refusal(live.ask("POST", "/v1/revocations", token, revocation), 409, "revocation.reach")
    rule = json.dumps({**REQUESTS, "reason": "malicious"}).encode()
    refusal(live.ask("POST", "/v1/rules", token, rule), 409, "revocation.reach")
    assert live.authority.standing(NOW).revocations.head.seq == before
    assert recorded(live.authority, "artifact.revoke") == []
    told_of = denials(live.authority)[len(recorded_before) :]
    assert {operation for _, operation, code in told_of if code == "revocation.reach"} == {"revocation.add", "rule.add"}
    assert len(told_of) == 6

    assert sweep(live, token, rules=[REQUESTS], confirm=33).json["listed"] == 33
    assert recorded(live.authority, "list.sweep")[0].detail["confirmed"] == 33


@pytest.mark.parametrize("wanted", ["order", "rule"])
def test_what_was_confirmed_is_recorded(live: Live, many: list[str], wanted: str) -> None:
    authority = live.authority
    if wanted == "order":
        authority.revoke(Order(tuple(digest(label) for label in many), "malicious", confirm=30), ACTOR, NOW)
        confirmed = {entry.detail["confirmed"] for entry in recorded(authority, "artifact.revoke")}
    else:
        rule = NewRule("component", {"purl": "pkg:pypi/requests"}, "malicious", confirm=33)
        authority.add_rule(rule, ACTOR, NOW)
        confirmed = {entry.detail["confirmed"] for entry in recorded(authority, "rule.add")}
    assert confirmed == {30 if wanted == "order" else 33}


def test_what_was_never_admitted_does_not_count_as_in_use(live: Live, token: str) -> None:
    assert sweep(live, token, digests=[digest(number) for number in range(500)]).json["listed"] == 500


@pytest.mark.parametrize(
    ("reached", "usable", "confirmed", "passes"),
    [
        (20, 20, 0, True),
        (21, 21, 0, False),
        (21, 21, 20, False),
        (21, 21, 21, True),
        (25, 100, 0, True),
        (26, 100, 0, False),
        (0, 0, 0, True),
    ],
)
def test_the_guard_rail(reached: int, usable: int, confirmed: int, passes: bool) -> None:
    if passes:
        rules.check_reach(reached, usable, confirmed)
        return
    with pytest.raises(Refused) as caught:
        rules.check_reach(reached, usable, confirmed)
    assert caught.value.code == "revocation.reach"


@pytest.mark.parametrize("approved_before", [True, False])
def test_a_rule_that_somebody_asks_to_end_is_put_in_force_anew(
    live: Live, token: str, tmp_path: Path, approved_before: bool
) -> None:
    """What is revoked after a request was made is not withdrawn by it: of a rule in a sweep, too."""
    authority = live.authority
    assert sweep(live, token, rules=[REQUESTS]).json["rules"] == ["R1"]
    asked = authority.request_reinstatement(Wish(None, 1, "we have mended it"), ACTOR, NOW)
    if approved_before:
        authority.approve_reinstatement(asked.id, "token:approver", NOW)
    again = sweep(live, token, rules=[REQUESTS]).json
    if not approved_before:
        authority.approve_reinstatement(asked.id, "token:approver", NOW)
    checkpoint(authority, tmp_path / "checkpoint")
    published = authority.standing(NOW).revocations
    assert [rule.match for rule in published.rules.rules] == [REQUESTS["match"]]
    assert all(published.lists(digest(label)) for label in "abc")
    assert (again["rules"], again["in_force"]) == (["R2"], 0)
    assert sweep(live, token, rules=[REQUESTS]).json["in_force"] == 1
