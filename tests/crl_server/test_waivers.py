"""Waivers at the service: two people, an end, a record; and a signed policy that hosts then believe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crl_server.records.audit import parse_entry
from crl_server.revocation import waiving
from crl_server.revocation.waiving import Plea
from crl_server.service import Authority
from crl_server.trust.policies import with_waivers
from loadlock.cli import main
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made
from tests.crl_server.live import Live, refusal
from tests.hosts import code_of
from verifier.formats.policy_terms import Waiver
from verifier.formats.text import Name, Time

pytestmark = pytest.mark.usefixtures("engine")

ANN, BEN = "oidc:sso:ann", "oidc:sso:ben"


def plea(label: object = "x", **more: Any) -> Plea:
    until, reason = Time.of(NOW + DAY), "The certifier is on leave."
    fields: dict[str, Any] = {"lifts": "certification-expiry", "until": until, "reason": reason} | more
    return Plea(digest(label), **fields)


def ask(authority: Authority, wanted: Plea, who: str = ANN, now: Any = NOW) -> int:
    with authority.store.write() as ledger:
        return waiving.ask(ledger, wanted, who, now).id


def approve(authority: Authority, number: int, who: str = BEN, now: Any = NOW) -> None:
    with authority.store.write() as ledger:
        waiving.approve(ledger, number, who, now)


def end(authority: Authority, number: int) -> None:
    with authority.store.write() as ledger:
        waiving.end(ledger, number, "oidc:sso:eve", NOW)


def in_effect(authority: Authority, now: Any = NOW) -> tuple[Waiver, ...]:
    with authority.store.read() as ledger:
        return waiving.in_effect(ledger, now)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_nobody_approves_their_own(authority: Authority) -> None:
    number = ask(authority, plea())
    assert code_of(lambda: approve(authority, number, ANN)) == "waiver.own"
    assert code_of(lambda: approve(authority, number, ANN.upper())) == "waiver.own"
    zoe = ask(authority, plea("z"), "oidc:sso:Zo\u00eb")
    assert code_of(lambda: approve(authority, zoe, "oidc:sso:Zoe\u0308")) == "waiver.own"
    assert code_of(lambda: approve(authority, zoe + 1)) == "waiver.unknown"
    assert in_effect(authority) == ()


@pytest.mark.parametrize("end", [NOW, NOW - HOUR, NOW + 7 * DAY + HOUR])
def test_an_end_that_is_past_or_far_is_refused(authority: Authority, end: Any) -> None:
    assert code_of(lambda: ask(authority, plea(until=Time.of(end)))) == "usage.arguments"


def test_a_waiver_whose_end_came_is_not_approved_and_not_in_effect(authority: Authority) -> None:
    first, second = ask(authority, plea()), ask(authority, plea("y"))
    approve(authority, first)
    assert [one.id for one in in_effect(authority)] == [first]
    assert in_effect(authority, NOW + DAY) == ()
    assert code_of(lambda: approve(authority, second, now=NOW + DAY)) == "usage.arguments"


def test_what_was_ended_is_not_approved_any_more_and_not_in_effect(authority: Authority) -> None:
    first, second = ask(authority, plea()), ask(authority, plea("y"))
    approve(authority, first)
    for number in (first, second, first):
        end(authority, number)
    assert in_effect(authority) == ()
    assert code_of(lambda: approve(authority, second)) == "waiver.ended"
    assert code_of(lambda: end(authority, second + 1)) == "waiver.unknown"
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    ended = [(one.actor, one.detail["id"]) for one in entries if one.action == "waiver.end"]
    assert ended == [("oidc:sso:eve", first), ("oidc:sso:eve", second)]


def test_whoever_ends_a_waiver_brings_none_back_that_it_replaced(authority: Authority) -> None:
    older, newer = ask(authority, plea()), ask(authority, plea())
    approve(authority, older)
    approve(authority, newer)
    end(authority, newer)
    assert in_effect(authority) == ()
    approve(authority, ask(authority, plea()))
    assert len(in_effect(authority)) == 1


@pytest.mark.parametrize("reason", ["", "x" * 501, "two\nlines", "\u202e"])
def test_a_waiver_has_a_plain_reason(reason: str) -> None:
    assert code_of(lambda: plea(reason=reason)) == "usage.arguments"


def test_only_so_many_are_open(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiving, "MAX_WAIVERS", 2)
    ask(authority, plea())
    ask(authority, plea("y"))
    assert code_of(lambda: ask(authority, plea("z"))) == "list.full"
    end(authority, 1)
    ask(authority, plea("z"))


# -- what passes -------------------------------------------------------------------------------------------------------


def test_two_people_make_a_waiver_and_each_step_is_recorded(authority: Authority) -> None:
    number = ask(authority, plea())
    assert in_effect(authority) == ()
    approve(authority, number)
    approve(authority, number, "oidc:sso:eve", NOW + HOUR)  # the first approval stays
    (found,) = in_effect(authority)
    assert (found.asked_by, found.approved_by, found.granted) == (ANN, BEN, Time.of(NOW))
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    recorded = [(one.actor, one.action, one.subject) for one in entries if one.action.startswith("waiver.")]
    assert recorded == [(ANN, "waiver.request", digest("x")), (BEN, "waiver.approve", digest("x"))]


def test_of_two_for_the_same_the_later_counts(authority: Authority) -> None:
    for hours in (1, 2):
        approve(authority, ask(authority, plea(until=Time.of(NOW + hours * HOUR))))
    assert [one.until for one in in_effect(authority)] == [Time.of(NOW + 2 * HOUR)]


def test_a_signed_policy_has_the_waivers_and_loses_them_again(authority: Authority) -> None:
    office = authority.office()
    approve(authority, ask(authority, plea(reason='He said "soon"\\, ümlaut.')))
    signed = office.sign_policy(with_waivers(office.text(), in_effect(authority)), ACTOR, NOW, "waivers")
    assert signed.policy.waivers == in_effect(authority)
    assert authority.repository.trust().policy.waivers == in_effect(authority)
    again = with_waivers(office.text(), in_effect(authority, NOW + DAY))
    assert "waivers" not in again
    assert office.sign_policy(again, ACTOR, NOW).policy.waivers == ()


def test_the_api_takes_asks_and_approvals(authority: Authority) -> None:
    create = authority.create_token
    operator, approver, both = (
        create(Name("op"), ["operator"], DAY, ACTOR, NOW),
        create(Name("ap"), ["approver"], DAY, ACTOR, NOW),
        create(Name("both"), ["operator", "approver"], DAY, ACTOR, NOW),
    )
    body = json.dumps(
        {"artifact": digest("x"), "lifts": "stale-list", "until": Time.of(NOW + HOUR), "reason": "No network."}
    ).encode()
    with Live(authority) as live:
        refusal(live.ask("POST", "/v1/waivers", approver, body), 403, "auth.role")
        refusal(
            live.ask("POST", "/v1/waivers", operator, body.replace(b"stale-list", b"signature")), 422, "format.schema"
        )
        key = {"Idempotency-Key": "k"}
        asked = [live.ask("POST", "/v1/waivers", both, body, key) for _ in range(2)]
        assert [one.status for one in asked] == [201, 201]
        number = asked[0].json["id"]
        assert asked[1].json == asked[0].json
        approval = f"/v1/waivers/{number}/approval"
        refusal(live.ask("POST", approval, operator), 403, "auth.role")
        refusal(live.ask("POST", approval, both), 403, "waiver.own")
        refusal(live.ask("POST", "/v1/waivers/99/approval", approver), 404, "waiver.unknown")
        assert live.ask("POST", approval, approver).status == 200
        (row,) = live.ask("GET", "/v1/waivers", approver).json["waivers"]
        assert (row["by"], row["approved_by"], row["ended_by"]) == ("token:both", "token:ap", None)
        assert live.ask("POST", f"/v1/waivers/{number}/end", operator).status == 200
        (row,) = live.ask("GET", "/v1/waivers", approver).json["waivers"]
        assert (row["ended_by"], row["ended_at"]) == ("token:op", Time.of(NOW))
        refusal(live.ask("POST", approval, approver), 409, "waiver.ended")


def test_the_commands_lead_from_asking_to_signing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from crl_server.operating.serving import utc_now

    made(tmp_path / "acme", now=utc_now()).close()
    at = ["--deployment", str(tmp_path / "acme")]

    def run(*words: str, status: int = 0) -> Any:
        assert main([*words, *at, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    ask_words = ["waive", "ask", digest("x"), "--lift", "stale-list", "--reason", "No network."]
    assert run(*ask_words, "--hours", "200", status=2)["error"]["code"] == "usage.arguments"
    number = str(run(*ask_words, "--hours", "24")["id"])
    monkeypatch.setenv("LOGNAME", "ben")  # anybody can say so
    assert run("waive", "approve", number, status=1)["error"]["code"] == "waiver.own"
    monkeypatch.setattr("crl_server.commands.waivers.local_actor", lambda: "local:ben")
    run("waive", "approve", number)
    assert [row["approved_by"] for row in run("waive", "ls")["waivers"]] == ["local:ben"]
    assert run("waive", "sign")["waivers"] == [int(number)]
    run("waive", "end", number)
    assert run("waive", "sign")["waivers"] == []
    assert main(["waive", "ls", *at]) == 0
    assert "ended" in capsys.readouterr().out


def test_all_of_them_are_listed_however_many_there_are(
    authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crl_server.commands.waivers.PAGE", 2)
    numbers = [ask(authority, plea(label)) for label in range(5)]
    secret = tmp_path / "token"
    secret.write_text(authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW))
    secret.chmod(0o600)
    with Live(authority) as live:
        for words in (
            ["--server", live.address, "--token-file", str(secret)],
            ["--deployment", str(authority.layout.root)],
        ):
            assert main(["waive", "ls", *words, "--json"]) == 0
            assert [row["id"] for row in json.loads(capsys.readouterr().out)["waivers"]] == numbers
