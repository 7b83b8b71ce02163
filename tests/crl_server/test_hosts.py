"""What hosts acknowledge: whose word counts, what it is counted for, and when it is forgotten."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crl_server.fleet import hosts
from crl_server.fleet.hearing import Hearing
from crl_server.fleet.hosts import MAX_INSTANCES, SILENT, Heard
from crl_server.records.audit import parse_entry
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from crl_server.storage.store import Store
from loadlock.cli import invoke
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.live import Answer, Live, denials, refusal
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_cli import Recorder
from verifier.errors import LoadlockError, Refused
from verifier.formats.acknowledgement import MAX_PLUGINS, Acknowledgement, dump_acknowledgement, parse_acknowledgement
from verifier.formats.text import Name

pytestmark = pytest.mark.usefixtures("engine")

MINUTE = timedelta(minutes=1)


def claim(host: str = "web-1", number: int = 1, seq: int = 0, *running: object, **more: Any) -> Acknowledgement:
    """A claim of an instance that runs the artifacts of these labels."""
    plugins = [
        {"id": "csv_exporter", "version": "1.0", "digest": digest(label), "since": "2026-01-31T12:00:00Z",
         "state": "running"} for label in running
    ]  # fmt: skip
    document = {
        "v": 1, "deployment": "acme", "host": host, "instance": f"{number:032x}", "epoch": 1, "seq": seq, "policy": 1,
        "plugins": sorted(plugins, key=lambda plugin: plugin["digest"]), "omitted": 0, "loadlock": "0.1.0",
        "at": "2026-01-31T12:00:00Z",
    } | more  # fmt: skip
    return parse_acknowledgement(json.dumps(document).encode())


def said(authority: Authority, *claims: Acknowledgement, now: datetime = NOW) -> None:
    """Claims that have arrived and are kept."""
    for one in claims:
        authority.hearing.take(one, now)
    authority.hearing.keep()


def covered(authority: Authority, seq: int | None = None, now: datetime = NOW) -> tuple[int, int, Any, Any]:
    """Hosts, those that enforce, those that lag, those that are silent."""
    with authority.store.read() as ledger:
        found = hosts.coverage(ledger, now, seq)
    return found.hosts, found.enforcing, found.lagging, found.silent


def states(authority: Authority, now: datetime = NOW) -> dict[tuple[str, int], str]:
    """The state of each instance."""
    with authority.store.read() as ledger:
        last = ledger.last_seq()
        rows = hosts.page(ledger, "", 1000)
    return {(row.host, int(row.instance, 16)): hosts.state_of(row, last, last, now) for row in rows}


@pytest.fixture
def live(authority: Authority) -> Iterator[Live]:
    with Live(authority) as server:
        yield server


@pytest.fixture
def token(authority: Authority) -> str:
    return authority.create_token(Name("web-1-token"), ["host"], DAY, ACTOR, NOW, Name("web-1"))


def acknowledge(live: Live, token: str, claim: Acknowledgement, host: str = "web-1") -> Answer:
    return live.ask("POST", f"/v1/hosts/{host}/acknowledgement", token, dump_acknowledgement(claim))


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_host_speaks_for_itself_alone(live: Live, token: str) -> None:
    refusal(acknowledge(live, token, claim("web-2"), "web-2"), 403, "auth.host")
    refusal(acknowledge(live, token, claim("web-2")), 403, "auth.host")
    refusal(acknowledge(live, token, claim("web-1"), "web-2"), 403, "auth.host")
    refusal(acknowledge(live, "", claim()), 401, "auth.token")
    live.authority.hearing.keep()
    assert states(live.authority) == {}
    foreign = ("token:web-1-token", "host.acknowledge", "auth.host")
    assert denials(live.authority) == [foreign, foreign, foreign, ("anonymous", "host.acknowledge", "auth.token")]


def test_the_token_of_somebody_else_is_no_hosts(live: Live) -> None:
    operator = live.authority.create_token(Name("op"), ["operator", "auditor"], DAY, ACTOR, NOW)
    refusal(acknowledge(live, operator, claim()), 403, "auth.role")


def test_a_hosts_token_reads_nothing(live: Live, token: str) -> None:
    for path in ("/v1/hosts", "/v1/coverage", "/v1/plugins", "/v1/revocations", "/v1/audit"):
        refusal(live.ask("GET", path, token), 403, "auth.role")


@pytest.mark.parametrize("roles", [["host", "auditor"], ["host"], ["auditor"]])
def test_a_token_for_a_host_has_that_role_and_no_other(authority: Authority, roles: Any) -> None:
    host = Name("web-1") if roles != ["host"] else None
    with pytest.raises(LoadlockError) as caught:
        authority.create_token(Name("mixed"), roles, DAY, ACTOR, NOW, host)
    assert caught.value.code == "usage.arguments"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"deployment": "other"}, 422, "list.deployment"),
        ({"v": 2}, 422, "format.schema"),
        ({"instance": "1"}, 422, "format.schema"),
        ({"instance": "A" * 32}, 422, "format.schema"),
        ({"seq": -1}, 422, "format.schema"),
        ({"epoch": 0}, 422, "format.schema"),
        ({"at": "now"}, 422, "format.schema"),
        ({"loadlock": "\u202e"}, 422, "format.schema"),
        ({"mood": "good"}, 422, "format.schema"),
        ({"omitted": True}, 422, "format.schema"),
    ],
)
def test_a_malformed_claim_changes_nothing(
    live: Live, token: str, change: dict[str, Any], status: int, code: str
) -> None:
    body = json.dumps(json.loads(dump_acknowledgement(claim())) | change).encode()
    refusal(live.ask("POST", "/v1/hosts/web-1/acknowledgement", token, body), status, code)
    live.authority.hearing.keep()
    assert states(live.authority) == {}


def test_plugins_come_in_order_each_once_and_not_too_many(live: Live, token: str) -> None:
    whole = json.loads(dump_acknowledgement(claim("web-1", 1, 0, *range(MAX_PLUGINS))))
    for plugins in (whole["plugins"][::-1], whole["plugins"][:1] * 2, whole["plugins"] + whole["plugins"][:1]):
        body = json.dumps(whole | {"plugins": plugins}).encode()
        refusal(live.ask("POST", "/v1/hosts/web-1/acknowledgement", token, body), 422, "format.schema")
    assert acknowledge(live, token, claim("web-1", 1, 0, *range(MAX_PLUGINS))).status == 202


def test_a_claim_over_its_cap_is_not_read(live: Live, token: str) -> None:
    body = dump_acknowledgement(claim()) + b" " * 256 * 1024
    refusal(live.ask("POST", "/v1/hosts/web-1/acknowledgement", token, body), 413, "format.too-large")


def test_more_than_can_wait_is_refused_and_what_waits_is_kept(authority: Authority) -> None:
    hearing = Hearing(authority.store, waiting=2)
    hearing.take(claim("a"), NOW)
    hearing.take(claim("b"), NOW)
    with pytest.raises(Refused) as caught:
        hearing.take(claim("c"), NOW)
    assert caught.value.code == "server.hearing"
    hearing.take(claim("a", seq=3), NOW)
    hearing.close()
    assert set(states(authority)) == {("a", 1), ("b", 1)}


def test_a_purl_that_cannot_be_evaluated_is_refused(live: Live) -> None:
    auditor = live.authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW)
    for query in ("purl=foo", "purl=pkg:pypi/foo&range=vers:x", "purl=", "purl=pkg:pypi/foo&limit=0"):
        answer = live.ask("GET", f"/v1/components/hosts?{query}", auditor)
        assert answer.status == 400, query


# -- what is counted ---------------------------------------------------------------------------------------------------


def test_a_claim_is_heard_and_shown(live: Live, token: str) -> None:
    auditor = live.authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW)
    seq = revoke(live.authority, "gone")
    answer = acknowledge(live, token, claim("web-1", 1, seq, "a", "b"))
    assert (answer.status, answer.json) == (202, {"seq": seq})
    shown = live.ask("GET", "/v1/hosts", auditor).json
    assert (shown["seq"], shown["next"]) == (seq, None)
    instance = shown["hosts"][0]["instances"][0]
    assert shown["hosts"][0]["host"] == "web-1"
    assert (instance["state"], instance["seq"], instance["plugins"]) == ("current", seq, 2)
    found = live.ask("GET", "/v1/coverage", auditor).json
    assert (found["seq"], found["hosts"], found["enforcing"]) == (seq, 1, 1)


def test_coverage_climbs_as_hosts_catch_up(authority: Authority) -> None:
    said(authority, claim("a"), claim("b"), claim("c"))
    assert covered(authority) == (3, 3, (), ())
    seq = revoke(authority, "x")
    assert covered(authority) == (3, 0, ("a", "b", "c"), ())
    assert covered(authority, 0) == (3, 3, (), ())
    said(authority, claim("b", seq=seq))
    assert covered(authority) == (3, 1, ("a", "c"), ())
    said(authority, claim("a", seq=seq), claim("c", seq=seq))
    assert covered(authority) == (3, 3, (), ())


def test_a_host_enforces_what_all_its_instances_enforce(authority: Authority) -> None:
    seq = revoke(authority, "x")
    said(authority, claim("a", 1, seq), claim("a", 2, seq - 1))
    assert covered(authority) == (1, 0, ("a",), ())
    said(authority, claim("a", 2, seq))
    assert covered(authority) == (1, 1, (), ())


def test_who_is_not_heard_of_is_silent_and_not_counted(authority: Authority) -> None:
    said(authority, claim("a"), claim("b"))
    later = NOW + SILENT
    assert covered(authority, now=later) == (2, 2, (), ())
    later += timedelta(seconds=1)
    assert covered(authority, now=later) == (0, 0, (), ("a", "b"))
    said(authority, claim("a"), now=later)
    assert covered(authority, now=later) == (1, 1, (), ("b",))


def test_a_host_that_goes_back_is_shown(authority: Authority) -> None:
    seq = revoke(authority, "x")
    said(authority, claim("a", 1, seq))
    said(authority, claim("a", 1, seq - 1))
    assert states(authority) == {("a", 1): "regressed"}
    assert covered(authority, 0) == (1, 0, ("a",), ())
    said(authority, claim("a", 1, seq))
    assert states(authority) == {("a", 1): "current"}


def test_a_restarted_host_with_an_older_list_is_shown(authority: Authority) -> None:
    seq = revoke(authority, "x")
    said(authority, claim("a", 1, seq))
    said(authority, claim("a", 2, seq - 1), claim("b", 3, seq - 1))
    assert states(authority) == {("a", 1): "current", ("a", 2): "regressed", ("b", 3): "lagging"}
    said(authority, claim("a", 2, 0, epoch=2))
    assert states(authority)["a", 2] == "lagging"


def test_a_host_that_knows_more_than_the_server_is_shown(authority: Authority) -> None:
    said(authority, claim("a", 1, 5))
    assert states(authority) == {("a", 1): "ahead"}
    assert covered(authority, 0) == (1, 0, ("a",), ())


def test_a_host_that_is_gone_is_forgotten_when_somebody_says_so(authority: Authority) -> None:
    said(authority, claim("a", 1, 0, "x"), claim("a", 2), now=NOW - SILENT - MINUTE)
    said(authority, claim("b", 3))
    assert covered(authority) == (1, 1, (), ("a",))
    assert authority.forget_host(Name("a"), ACTOR, NOW) == 2
    assert covered(authority) == (1, 1, (), ())
    with authority.store.read() as ledger:
        assert hosts.running(ledger, [digest("x")], NOW) == []
        entry = parse_entry(list(ledger.audit_lines())[-1])
    assert (entry.actor, entry.action, entry.subject) == (ACTOR, "host.forget", "a")
    said(authority, claim("a", 1))
    assert covered(authority)[0] == 2


def test_a_host_that_speaks_is_not_forgotten(authority: Authority) -> None:
    said(authority, claim("a", 1), now=NOW - HOUR)
    said(authority, claim("a", 2), now=NOW - SILENT)
    with pytest.raises(Refused) as refused:
        authority.forget_host(Name("a"), ACTOR, NOW)
    assert refused.value.code == "host.heard"
    with pytest.raises(LoadlockError) as caught:
        authority.forget_host(Name("nobody"), ACTOR, NOW)
    assert caught.value.code == "usage.arguments"
    assert covered(authority)[0] == 1


def test_hosts_come_page_by_page(live: Live) -> None:
    auditor = live.authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW)
    said(live.authority, *(claim(f"host-{number}", each) for number in range(5) for each in (1, 2)))
    seen, after = [], ""
    while True:
        page = live.ask("GET", f"/v1/hosts?limit=2&after={after}", auditor).json
        seen += [(host["host"], len(host["instances"])) for host in page["hosts"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [(f"host-{number}", 2) for number in range(5)]


# -- what runs where ---------------------------------------------------------------------------------------------------


def test_which_hosts_run_a_library_now(live: Live) -> None:
    auditor = live.authority.create_token(Name("auditor"), ["auditor"], DAY, ACTOR, NOW)
    for label in ("a", "b"):
        admit(live.authority, subject(label))
    said(live.authority, claim("web-1", 1, 0, "a"), claim("web-1", 2, 0, "a", "b"), claim("web-2", 3, 0, "stranger"))
    said(live.authority, claim("web-3", 4, 0, "b"), now=NOW - HOUR)
    ask = "/v1/components/hosts?purl=pkg:pypi/requests"
    found = live.ask("GET", f"{ask}&range=%3C2.32", auditor).json
    rows = {(row["host"], row["digest"]): (row["instances"], row["silent"]) for row in found["running"]}
    assert rows == {
        ("web-1", digest("a")): (2, False),
        ("web-1", digest("b")): (1, False),
        ("web-3", digest("b")): (1, True),
    }
    assert (found["artifacts"], found["unknown"], found["next"]) == (2, 1, None)
    assert live.ask("GET", f"{ask}&range=%3E2.32", auditor).json["running"] == []
    first = live.ask("GET", f"{ask}&limit=1", auditor).json
    assert ({row["host"] for row in first["running"]}, first["next"]) == ({"web-1"}, "web-1")
    second = live.ask("GET", f"{ask}&limit=1&after=web-1", auditor).json
    assert ({row["host"] for row in second["running"]}, second["next"]) == ({"web-3"}, None)


def test_what_a_host_has_stopped_or_let_go_of_is_told(authority: Authority) -> None:
    said(authority, claim("a", 1, 0, "x", "y"))
    stopped = claim("a", 1, 1, "x")
    document = json.loads(dump_acknowledgement(stopped))
    document["plugins"][0]["state"] = "stopped"
    said(authority, parse_acknowledgement(json.dumps(document).encode()))
    with authority.store.read() as ledger:
        found = hosts.running(ledger, [digest("x"), digest("y")], NOW)
    assert [(row.digest, row.instances, row.stopped) for row in found] == [(digest("x"), 1, 1)]


def test_a_host_that_has_stopped_it_is_not_told_to_run_it(live: Live) -> None:
    admit(live.authority, subject("a"))
    stopped = json.loads(dump_acknowledgement(claim("web-2", 2, 0, "a")))
    stopped["plugins"][0]["state"] = "stopped"
    said(live.authority, claim("web-1", 1, 0, "a"), parse_acknowledgement(json.dumps(stopped).encode()))
    told = Recorder()
    words = ["hosts", "running", "pkg:pypi/requests", "--deployment", str(live.authority.layout.root)]
    invoke(words, told)
    assert told.lines[-1] == "1 hosts that acknowledge run it, 1 have stopped it"


def test_the_blast_radius_names_plugins_and_hosts(live: Live) -> None:
    revoker = live.authority.create_token(Name("revoker"), ["revoker"], DAY, ACTOR, NOW)
    admit(live.authority, subject("a"))
    said(live.authority, claim("web-1", 1, 0, "a"), claim("web-2", 2, 0, "a", "never admitted"))
    body = {"digests": [digest("a"), digest("never admitted")], "reason": "malicious", "dry_run": True}
    found = live.ask("POST", "/v1/revocations", revoker, json.dumps(body).encode()).json
    assert (found["artifacts"], found["plugins"], found["hosts"]) == (1, ["csv_exporter"], 2)
    assert {(row["host"], row["digest"]) for row in found["running"]} == {
        ("web-1", digest("a")), ("web-2", digest("a")), ("web-2", digest("never admitted")),
    }  # fmt: skip
    rule = {"kind": "component", "match": {"purl": "pkg:pypi/requests"}, "reason": "vulnerability", "dry_run": True}
    found = live.ask("POST", "/v1/rules", revoker, json.dumps(rule).encode()).json
    assert (found["hosts"], sorted(row["host"] for row in found["running"])) == (2, ["web-1", "web-2"])
    assert live.authority.radius(NewRule("signer", {"principal": "nobody"}, "malicious"), NOW).running == ()


# -- what is forgotten -------------------------------------------------------------------------------------------------


def test_a_process_that_ended_is_forgotten_and_a_host_that_went_silent_is_not(authority: Authority) -> None:
    said(authority, claim("a", 1, 0, "x"), claim("a", 2), claim("b", 3))
    later = NOW + DAY + MINUTE
    said(authority, claim("a", 2), now=later)
    authority.maintain(later)
    assert set(states(authority, later)) == {("a", 2), ("b", 3)}
    with authority.store.read() as ledger:
        assert hosts.running(ledger, [digest("x")], later) == []
    with authority.store.write() as ledger:
        hosts.forget(ledger, NOW + timedelta(days=30, minutes=1))
    assert states(authority) == {("a", 2): "current"}


def test_the_instances_of_a_host_are_bounded(authority: Authority) -> None:
    for number in range(MAX_INSTANCES + 2):
        at = NOW + timedelta(seconds=number)
        with authority.store.write() as ledger:
            hosts.keep(ledger, [Heard(claim("a", number), at)])
    kept = {number for _, number in states(authority)}
    assert kept == set(range(2, MAX_INSTANCES + 2))


def test_a_host_with_too_many_instances_keeps_nobody_else_from_being_heard(authority: Authority) -> None:
    # The one whose place is taken speaks in the same moment: what it says is kept too, and nothing waits for ever.
    for number in range(MAX_INSTANCES):
        authority.hearing.take(claim("a", number), NOW + timedelta(seconds=number))
    authority.hearing.keep()
    later = NOW + timedelta(seconds=MAX_INSTANCES)
    said(authority, claim("a", MAX_INSTANCES), claim("a", 0), claim("b"), now=later)
    kept = {number for host, number in states(authority) if host == "a"}
    assert kept == {0, *range(2, MAX_INSTANCES + 1)}
    assert ("b", 1) in states(authority)


# -- in the middle of work ---------------------------------------------------------------------------------------------


def test_what_waits_is_kept_by_itself(authority: Authority) -> None:
    authority.hearing.take(claim("a"), NOW)
    waiting = threading.Event()
    for _ in range(200):
        if states(authority):
            break
        waiting.wait(0.05)
    assert states(authority) == {("a", 1): "current"}


def test_what_could_not_be_kept_waits_on(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    hearing = Hearing(authority.store)
    hearing.take(claim("a", seq=1), NOW)

    def fails(self: Store) -> Any:
        hearing.take(claim("a", seq=2), NOW)  # meanwhile something newer comes
        raise Refused("io.failed", "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", fails)
        with pytest.raises(Refused):
            hearing.keep()
    hearing.close()
    with authority.store.read() as ledger:
        assert [row.seq for row in hosts.page(ledger, "", 10)] == [2]


def test_a_claim_that_cannot_be_kept_does_not_stand_in_the_way_of_others(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = Hearing(authority.store)
    hearing.take(claim("a"), NOW)

    def fails(*_: Any) -> None:
        raise ValueError("an error nobody foresaw")

    with monkeypatch.context() as patch:
        patch.setattr(hosts, "keep", fails)
        with pytest.raises(ValueError, match="nobody foresaw"):
            hearing.keep()
    hearing.take(claim("b"), NOW)
    hearing.close()
    assert states(authority) == {("b", 1): "current"}


def test_what_waits_is_kept_when_the_service_ends(tmp_path: Path) -> None:
    first = made(tmp_path / "other")
    first.hearing.take(claim("a"), NOW)
    first.close()
    again = Authority(tmp_path / "other")
    assert states(again) == {("a", 1): "current"}
    again.close()
