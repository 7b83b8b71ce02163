"""Bad requests of people who may do such things: a clear problem, an entry of the audit log, and no change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from crl_server.access.roles import STAFF
from crl_server.revocation import reinstating, waiving
from crl_server.storage.ledger import MAX_ID
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, made, revoke
from tests.crl_server.live import Live, denials, refusal
from tests.crl_server.test_hosts import claim
from verifier.errors import Refused
from verifier.formats.acknowledgement import dump_acknowledgement
from verifier.formats.text import Name, Time

PLEA = {"artifact": digest("x"), "lifts": "stale-list", "until": Time.of(NOW + DAY), "reason": "no network"}


@pytest.fixture(scope="module")
def live(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    authority = made(tmp_path_factory.mktemp(engine) / "acme")
    revoke(authority, "known")
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture(scope="module")
def token(live: Live) -> str:
    """Of somebody with every role that asks and approves."""
    return live.authority.create_token(Name("ann"), ["revoker", "approver", "operator"], DAY, ACTOR, NOW)


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("subject", "wanted", "code"),
    [
        ("reinstatements", {"digest": digest("known"), "note": "by mistake"}, "reinstatement.own"),
        ("waivers", PLEA, "waiver.own"),
    ],
)
def test_an_approval_by_the_requester_is_refused_and_recorded(
    live: Live, token: str, subject: str, wanted: dict[str, Any], code: str
) -> None:
    number = live.ask("POST", f"/v1/{subject}", token, body(**wanted)).json["id"]
    before = denials(live.authority)
    refusal(live.ask("POST", f"/v1/{subject}/{number}/approval", token), 403, code)
    operation = f"{subject.removesuffix('s')}.approve"
    assert denials(live.authority) == [*before, ("token:ann", operation, code)]
    (row,) = [row for row in live.ask("GET", f"/v1/{subject}", token).json[subject] if row["id"] == number]
    assert (row["approved_by"], row["approved_at"]) == (None, None)


def test_what_a_host_says_of_another_is_refused_and_recorded(live: Live) -> None:
    own = live.authority.create_token(Name("web-1"), ["host"], DAY, ACTOR, NOW, Name("web-1"))
    before = denials(live.authority)
    told = dump_acknowledgement(claim("web-2"))
    refusal(live.ask("POST", "/v1/hosts/web-2/acknowledgement", own, told), 403, "auth.host")
    assert denials(live.authority) == [*before, ("token:web-1", "host.acknowledge", "auth.host")]
    live.authority.hearing.keep()
    auditor = live.authority.create_token(Name("aud"), ["auditor"], DAY, ACTOR, NOW)
    assert live.ask("GET", "/v1/hosts", auditor).json["hosts"] == []


def test_what_is_malformed_or_unknown_is_not_recorded(live: Live, token: str) -> None:
    """The log is for what people may want to know, not for whatever anybody sends."""
    before = denials(live.authority)
    refusal(live.ask("POST", "/v1/reinstatements", token, b"{"), 422, "format.syntax")
    unknown = body(digest=digest("nobody has heard of it"), note="x")
    refusal(live.ask("POST", "/v1/reinstatements", token, unknown), 404, "reinstatement.unknown")
    refusal(live.ask("POST", "/v1/waivers/99/approval", token), 404, "waiver.unknown")
    assert denials(live.authority) == before


def test_a_request_that_is_sent_again_changes_nothing(live: Live, token: str) -> None:
    """Neither as it was, under its key, nor as another under the same key, nor as an approval that was given."""
    wanted, key = PLEA | {"reason": "sent again"}, {"Idempotency-Key": "again"}
    first, again = (live.ask("POST", "/v1/waivers", token, body(**wanted), key) for _ in range(2))
    assert (first.status, again.status, first.body) == (201, 201, again.body)
    refusal(live.ask("POST", "/v1/waivers", token, body(**PLEA), key), 422, "request.idempotency")
    other = live.authority.create_token(Name("ben"), ["approver"], DAY, ACTOR, NOW)
    approvals = [live.ask("POST", f"/v1/waivers/{first.json['id']}/approval", other) for _ in range(2)]
    assert [one.status for one in approvals] == [200, 200]
    rows = live.ask("GET", "/v1/waivers", token).json["waivers"]
    assert [row["approved_at"] for row in rows if row["reason"] == "sent again"] == [Time.of(NOW)]
    with live.authority.store.read() as ledger:
        lines = [line for line in ledger.audit_lines() if b'"waiver.approve","subject":"sha256' in line]
    assert len(lines) == 1


@pytest.mark.parametrize("step", ["approval", "end"])
def test_a_step_of_a_waiver_under_one_key_is_done_once(live: Live, token: str, step: str) -> None:
    """And answered alike, whatever has become of the waiver since."""
    one, other = (live.ask("POST", "/v1/waivers", token, body(**PLEA)).json["id"] for _ in range(2))
    name, key = Name(f"eve-{step}"), {"Idempotency-Key": "step"}
    eve = live.authority.create_token(name, ["approver"], DAY, ACTOR, NOW)
    first = live.ask("POST", f"/v1/waivers/{one}/{step}", eve, headers=key)
    assert first.status == 200
    refusal(live.ask("POST", f"/v1/waivers/{other}/{step}", eve, headers=key), 422, "request.idempotency")
    rows = {row["id"]: row for row in live.ask("GET", "/v1/waivers?limit=1000", token).json["waivers"]}
    assert (rows[other]["approved_by"], rows[other]["ended_by"]) == (None, None)
    live.ask("POST", f"/v1/waivers/{one}/end", token)
    again = live.ask("POST", f"/v1/waivers/{one}/{step}", eve, headers=key)
    assert (again.status, again.body) == (200, first.body)


# -- what one engine takes and the other does not ----------------------------------------------------------------------


PAGED = ("/v1/revocations", "/v1/rules", "/v1/reinstatements", "/v1/waivers", "/v1/audit", "/v1/audit/export")
TEXTS = (
    "/v1/plugins?q=%00", "/v1/plugins?owner=a%00", "/v1/plugins?hook=%00", "/v1/hosts?after=%00",
    "/v1/components/hosts?purl=pkg:pypi/x&after=%00", "/v1/components/artifacts?purl=pkg:pypi/x%00",
)  # fmt: skip
PAGES = (
    "/search?q=%00", "/plugins?q=%00", "/plugins?after=a%00", "/revocations?by=%00", "/audit?actor=%00",
    "/hosts?after=%00", "/hosts?purl=pkg:pypi/x%00", "/approvals?before=9007199254740991", "/events/9007199254740991",
    "/waivers?before=2000000001",
)  # fmt: skip


@pytest.fixture(scope="module")
def everybody(live: Live) -> str:
    """The token of somebody with every role."""
    return live.authority.create_token(Name("every"), STAFF, DAY, ACTOR, NOW)


@pytest.mark.parametrize("path", PAGED)
def test_numbers_end_where_rows_do(live: Live, everybody: str, path: str) -> None:
    assert live.ask("GET", f"{path}?after={MAX_ID}", everybody).status == 200
    refusal(live.ask("GET", f"{path}?after={MAX_ID + 1}", everybody), 400, "request.invalid")


@pytest.mark.parametrize("path", ["/v1/reinstatements/{}/approval", "/v1/waivers/{}/approval", "/v1/waivers/{}/end"])
def test_so_do_those_in_addresses_and_bodies(live: Live, everybody: str, path: str) -> None:
    assert live.ask("POST", path.format(MAX_ID), everybody).status == 404
    refusal(live.ask("POST", path.format(MAX_ID + 1), everybody), 400, "request.invalid")
    assert live.ask("GET", f"/v1/coverage?seq={MAX_ID}", everybody).status == 200
    refusal(live.ask("GET", f"/v1/coverage?seq={MAX_ID + 1}", everybody), 400, "request.invalid")
    too_high = body(rule=MAX_ID + 1, note="x")
    refusal(live.ask("POST", "/v1/reinstatements", everybody, too_high), 422, "format.schema")
    unknown = body(rule=MAX_ID, note="x")
    refusal(live.ask("POST", "/v1/reinstatements", everybody, unknown), 404, "reinstatement.unknown")


@pytest.mark.parametrize("field", ["epoch", "seq", "policy", "omitted"])
def test_a_claim_about_a_number_that_nothing_has_spoils_no_others(live: Live, everybody: str, field: str) -> None:
    name = Name(f"high-{field}")
    own = live.authority.create_token(name, ["host"], DAY, ACTOR, NOW, name)
    path = f"/v1/hosts/{name}/acknowledgement"
    wrong = structs.replace(claim(name), **{field: MAX_ID + 1})
    refusal(live.ask("POST", path, own, dump_acknowledgement(wrong)), 422, "format.schema")
    assert live.ask("POST", path, own, dump_acknowledgement(claim(name))).status == 202
    assert name in [row["host"] for row in live.ask("GET", "/v1/hosts", everybody).json["hosts"]]


@pytest.mark.parametrize("path", TEXTS)
def test_a_query_is_text(live: Live, everybody: str, path: str) -> None:
    answer = live.ask("GET", path, everybody)
    refusal(answer, 400, "request.invalid" if answer.json["code"] != "usage.arguments" else "usage.arguments")


def test_the_console_is_asked_in_text_and_in_numbers_that_there_are(live: Live, everybody: str) -> None:
    visitor = Visitor(live, everybody)
    assert {path: visitor.get(path).status for path in PAGES} == dict.fromkeys(PAGES, 400)
    assert visitor.get("/search?q=R999999999999").status == 200


@pytest.mark.parametrize("path", ["/hosts/%00", "/artifacts/%00", "/plugins/%00", "/login/%00", "/static/%00"])
def test_so_is_a_name_in_an_address(live: Live, everybody: str, path: str) -> None:
    assert Visitor(live, everybody).get(path).status in (400, 401, 404)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"kind": "signer", "principal": "a\0"}, 400),
        ({"kind": "component", "purl": "pkg:pypi/a\0"}, 400),
        ({"kind": "builder", "builder": "a\0"}, 400),
        ({"kind": "source", "repository": "https://git.example/\0"}, 400),
        (
            {"kind": "component", "purl": "pkg:pypi/requests\u200b"},
            400,
        ),  # it would revoke nothing, and nobody would see
        ({"kind": "artifacts", "digests": "\0"}, 400),
        ({"kind": "artifacts", "digests": "0" * 64, "note": "\0"}, 400),
    ],
)
def test_so_is_what_a_form_says(live: Live, everybody: str, fields: dict[str, str], status: int) -> None:
    visitor = Visitor(live, everybody)
    form = visitor.fields(visitor.page("/revoke"), "/revoke/review")
    assert visitor.post("/revoke/review", form | {"reason": "malicious"} | fields).status == status


def test_so_do_those_of_commands(live: Live) -> None:
    with live.authority.store.write() as ledger:
        for call in (waiving.approve, waiving.end, reinstating.approve):
            with pytest.raises(Refused) as caught:
                call(ledger, 2**40, ACTOR, NOW)
            assert caught.value.code.endswith(".unknown")
