"""Signing in: by token, through a real issuer; sessions that end, and every way to come by somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from sqlmodel import SQLModel

from crl_server.access.issuers import read_issuers
from crl_server.console.entrance import MAX_NEXT, way
from crl_server.console.place import Place
from crl_server.console.sessions import IDLE, LIFE, MAX_SESSIONS
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from tests.crl_server.console.sso import CLIENT_SECRET, Sso
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, made
from tests.crl_server.live import Answer, Live, address_of, listen
from tests.hosts import in_fresh_process
from verifier.errors import LoadlockError
from verifier.formats.enrolment import ServerUrl
from verifier.formats.text import Name

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def sso() -> Iterator[Sso]:
    """The issuer, whose clock is the tests'."""
    with Sso(lambda: NOW) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def served(engine: str, tmp_path_factory: pytest.TempPathFactory, sso: Sso) -> Iterator[Live]:
    """A deployment on each engine in turn, whose people sign in there; the console is a client with a secret."""
    listening = listen()
    directory = tmp_path_factory.mktemp(engine) / "acme"
    made(directory, server=address_of(listening)).close()
    sso.secret = CLIENT_SECRET
    sso.redirects = {f"{address_of(listening)}/console/login/sso/return"}
    (directory / "server" / "issuers.toml").write_text(sso.settings)
    secret = directory / "server" / "sso.secret"
    secret.write_text(CLIENT_SECRET + "\n")
    secret.chmod(0o600)
    authority = Authority(directory)
    for name, life in (("ann", 300 * DAY), ("short", HOUR)):
        authority.create_token(Name(name), ["auditor"], life, ACTOR, NOW)
    with Live(authority, listening) as live:
        yield live
    authority.close()


@pytest.fixture
def live(served: Live, sso: Sso) -> Live:
    """The server at the usual time, the issuer honest."""
    served.now = NOW
    sso.lie, sso.answer, sso.document = {}, {}, {}
    sso.refused.clear()
    return served


@pytest.fixture
def token(live: Live) -> str:
    """An API token of an auditor's own."""
    with live.authority.store.read() as ledger:
        count = ledger.audit_state().count
    return live.authority.create_token(Name(f"auditor-{count}"), ["auditor"], 300 * DAY, ACTOR, NOW)


def begun(visitor: Visitor, next_page: str = "") -> str:
    """Begin to sign in; where the browser is sent to."""
    answer = visitor.get(f"/login/sso{f'?next={next_page}' if next_page else ''}")
    assert answer.status == 303, answer.body
    return answer.headers["location"]


def at_issuer(where: str, person: str = "ann") -> str:
    """Sign in there; the path and query with which the browser comes back to the console."""
    answer = urllib3.request("GET", f"{where}&person={person}", redirect=False, timeout=10)
    assert answer.status == 303, answer.data
    back = urlsplit(answer.headers["location"])
    return f"{back.path.removeprefix('/console')}?{back.query}"


def refused(answer: Answer, status: int, code: str, visitor: Visitor) -> None:
    assert (answer.status, code in answer.body.decode()) == (status, True), answer.body.decode()
    assert "loadlock-session" not in visitor.cookies


# -- through the issuer ------------------------------------------------------------------------------------------------


def test_somebody_signs_in_through_the_issuer(live: Live) -> None:
    visitor = Visitor(live)
    back = at_issuer(begun(visitor, "%2Fplugins%3Fq%3Da"))
    answer = visitor.get(back)
    assert (answer.status, answer.headers["location"]) == (303, "/console/plugins?q=a")
    assert "loadlock-login" not in visitor.cookies
    page = visitor.page("/")
    assert "oidc:sso:ann" in page
    assert "/console/revoke" in page
    with live.authority.store.read() as ledger:
        acts = [parse_entry(line) for line in ledger.audit_lines()]
    assert (acts[-1].actor, acts[-1].action, acts[-1].detail) == (
        "oidc:sso:ann", "session.begin", {"roles": ["auditor", "revoker"]},
    )  # fmt: skip


def test_the_request_is_the_one_that_the_standards_ask_for(live: Live, sso: Sso) -> None:
    where = urlsplit(begun(Visitor(live)))
    query = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert query.keys() == {
        "theme", "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
        "code_challenge_method",
    }  # fmt: skip
    assert query["redirect_uri"] == f"{live.address}/console/login/sso/return"
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    assert begun(Visitor(live)) != where.geturl()


def test_the_redirect_uri_does_not_follow_the_host_header(live: Live) -> None:
    answer = live.ask("GET", "/console/login/sso", headers={"Host": "evil.example"})
    assert "evil.example" not in answer.headers["location"]


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "another nonce": ({"nonce": "other"}, "auth.token"),
    "no nonce": ({"nonce": None}, "auth.token"),
    "another audience": ({"aud": "elsewhere"}, "auth.token"),
    "the API's audience": ({"aud": "loadlock"}, "auth.token"),
    "another authorised party": ({"aud": ["loadlock-console", "other"], "azp": "other"}, "auth.token"),
    "another issuer": ({"iss": "https://sso.example"}, "auth.token"),
    "expired": ({"iat": int(NOW.timestamp()) - 900, "exp": int(NOW.timestamp()) - 600}, "auth.token"),
    "no group of the grants": ({"groups": ["guests"]}, "auth.role"),
    "no groups": ({"groups": None}, "auth.role"),
}


@pytest.mark.parametrize("name", LIES)
def test_an_id_token_that_is_not_for_this_is_refused(live: Live, sso: Sso, name: str) -> None:
    sso.lie, code = LIES[name]
    visitor = Visitor(live)
    refused(visitor.get(at_issuer(begun(visitor))), 403 if code == "auth.role" else 401, code, visitor)


def test_somebody_without_a_grant_does_not_come_in(live: Live) -> None:
    visitor = Visitor(live)
    refused(visitor.get(at_issuer(begun(visitor), "eve")), 403, "auth.role", visitor)


@pytest.mark.parametrize(
    "answer",
    [
        {"state": "other"}, {"state": ""}, {"iss": "https://sso.example"}, {"iss": ""}, {"code": ""},
        {"code": "guessed"}, {"code": "", "error": "access_denied"}, {"code": "x" * 5000},
    ],
)  # fmt: skip
def test_an_answer_that_is_not_the_issuers_to_this_attempt_is_refused(
    live: Live, sso: Sso, answer: dict[str, str]
) -> None:
    sso.answer = answer
    visitor = Visitor(live)
    refused(visitor.get(at_issuer(begun(visitor))), 401, "auth.login", visitor)
    assert "loadlock-login" not in visitor.cookies


def test_a_code_is_worth_nothing_in_another_browser(live: Live, sso: Sso) -> None:
    """Whoever is made to follow somebody else's link back from the issuer is not signed in as them."""
    thief, victim = Visitor(live), Visitor(live)
    back = at_issuer(begun(thief))
    refused(victim.get(back), 401, "auth.login", victim)
    begun(victim)
    refused(victim.get(back), 401, "auth.login", victim)


def test_a_code_is_worth_nothing_twice(live: Live, sso: Sso) -> None:
    visitor = Visitor(live)
    where = begun(visitor)
    kept = dict(visitor.cookies)
    back = at_issuer(where)
    assert visitor.get(back).status == 303
    again = Visitor(live)
    again.cookies = kept
    refused(again.get(back), 401, "auth.login", again)
    assert sso.refused == ["no such code"]


def test_an_issuer_that_nobody_named_is_refused(live: Live) -> None:
    visitor = Visitor(live)
    refused(visitor.get("/login/other"), 401, "auth.login", visitor)
    refused(visitor.get("/login/other/return?code=a&state=b"), 401, "auth.login", visitor)


@pytest.mark.parametrize("field", ["authorization_endpoint", "token_endpoint"])
def test_an_endpoint_that_is_not_behind_tls_is_not_used(live: Live, sso: Sso, field: str) -> None:
    visitor = Visitor(live)
    where = begun(visitor) if field == "token_endpoint" else ""
    sso.document = {field: "http://sso.example/here"}
    answer = visitor.get(at_issuer(where)) if where else visitor.get("/login/sso")
    assert (answer.status, "unreachable.issuer" in answer.body.decode()) == (503, True)


def test_a_client_secret_that_others_can_read_is_refused(live: Live) -> None:
    secret = live.authority.layout.issuers.parent / "sso.secret"
    visitor = Visitor(live)
    back = at_issuer(begun(visitor))
    secret.chmod(0o644)
    try:
        answer = visitor.get(back)
    finally:
        secret.chmod(0o600)
    assert (answer.status, "usage.configuration" in answer.body.decode()) == (503, True)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"openid", ', "", "usage.configuration"),
        ('client = "loadlock-console"', "", "format.schema"),
        ('"sso.secret"', '"../online/head.pem"', "format.schema"),
        ('"groups"]', '"two words"]', "format.schema"),
    ],
)
def test_settings_that_make_no_sense_are_refused(sso: Sso, tmp_path: Path, old: str, new: str, code: str) -> None:
    path = tmp_path / "issuers.toml"
    path.write_text(sso.settings)
    assert read_issuers(path)[0].console is not None
    path.write_text(sso.settings.replace(old, new, 1))
    with pytest.raises(LoadlockError) as caught:
        read_issuers(path)
    assert caught.value.code == code


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_a_token_signs_in_and_the_database_holds_no_secret(live: Live, token: str) -> None:
    visitor = Visitor(live, token)
    secret = visitor.cookies["loadlock-session"]
    assert visitor.get("/").status == 200
    with live.authority.store.read() as ledger:
        database = ledger.session.connection()
        tables = SQLModel.metadata.sorted_tables
        dump = "\n".join(str(row) for table in tables for row in database.execute(table.select()))
    assert "token.create" in dump
    assert secret not in dump
    assert token not in dump


@pytest.mark.parametrize("wrong", ["", "loadlock_wrong", "eyJhbGciOiJub25lIn0.e30.", "a" * 5000])
def test_a_wrong_token_does_not_sign_in(live: Live, wrong: str) -> None:
    visitor = Visitor(live)
    refused(visitor.post("/login", {"token": wrong, "next": "/"}), 401, "auth.token", visitor)


def test_the_token_of_a_host_does_not_sign_in(live: Live) -> None:
    token = live.authority.create_token(Name("web-1"), ["host"], DAY, ACTOR, NOW, host=Name("web-1"))
    visitor = Visitor(live)
    refused(visitor.post("/login", {"token": token, "next": "/"}), 403, "auth.role", visitor)


def test_the_cookie_is_for_no_script_and_no_other_site(live: Live, token: str) -> None:
    answer = Visitor(live).post("/login", {"token": token, "next": "/"})
    kept = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=lax", "Path=/console", f"Max-Age={int(LIFE.total_seconds())}"):
        assert part in kept


def test_behind_tls_the_cookie_is_tied_to_the_host() -> None:
    place = Place.of(ServerUrl("https://loadlock.example"))
    assert (place.cookie("loadlock-session"), place.secure, place.path) == ("__Host-loadlock-session", True, "/")


def test_without_tls_nobody_signs_in(tmp_path: Path) -> None:
    """Loopback is the one exception."""
    authority = made(tmp_path / "acme", server="http://loadlock.example")
    with Live(authority) as live:
        token = authority.create_token(Name("ann"), ["auditor"], DAY, ACTOR, NOW)
        for answer in (
            live.ask("GET", "/console/login"),
            live.ask(
                "POST", "/console/login", body=f"token={token}".encode(),
                headers={
                    "Origin": "http://loadlock.example",
                    "Content-Type": "application/x-www-form-urlencoded",
                },
            ),
        ):  # fmt: skip
            assert (answer.status, "set-cookie" in answer.headers) == (503, False)
            assert "usage.configuration" in answer.body.decode()
    authority.close()


def test_a_session_ends_when_nobody_uses_it(live: Live, token: str) -> None:
    visitor = Visitor(live, token)
    for _ in range(3):
        live.now += IDLE - MINUTE
        assert visitor.get("/").status == 200
    live.now += IDLE
    assert visitor.get("/").headers["location"] == "/console/login"


def test_a_session_ends_after_a_day_of_work_whatever_happens(live: Live, token: str) -> None:
    visitor = Visitor(live, token)
    while live.now + IDLE - MINUTE < NOW + LIFE:
        live.now += IDLE - MINUTE
        assert visitor.get("/").status == 200
    live.now = NOW + LIFE
    assert visitor.get("/").status == 303


def test_a_session_of_a_moment_that_has_not_come_yet_is_none(live: Live, token: str) -> None:
    """The clock was a year ahead, and is right again: the session would last for that year."""
    live.now += HOUR
    visitor = Visitor(live, token)
    assert visitor.get("/").status == 200
    live.now = NOW
    assert visitor.get("/").status == 303


def test_a_session_ends_with_its_token(live: Live, token: str) -> None:
    visitor = Visitor(live, token)
    with live.authority.store.read() as ledger:
        name = [line for line in map(parse_entry, ledger.audit_lines()) if line.action == "token.create"][-1].subject
    live.authority.revoke_token(Name(name), ACTOR, NOW)
    assert visitor.get("/").status == 303


def test_a_session_ends_when_the_operator_changes_the_issuer(live: Live) -> None:
    visitor = Visitor(live)
    visitor.get(at_issuer(begun(visitor)))
    assert visitor.get("/").status == 200
    before = live.authority.issuers
    live.authority.issuers = ()
    try:
        assert visitor.get("/").status == 303
    finally:
        live.authority.issuers = before
    assert visitor.get("/").status == 200


def test_signing_out_ends_the_session_on_the_server(live: Live, token: str) -> None:
    visitor = Visitor(live, token)
    kept = dict(visitor.cookies)
    form = visitor.fields(visitor.page("/"), "/logout")
    assert visitor.post("/logout", form).headers["location"] == "/console/login"
    visitor.cookies = kept
    assert visitor.get("/").status == 303


def test_a_planted_session_is_never_taken_over(live: Live, token: str) -> None:
    """Session fixation: what somebody puts into a browser beforehand is worth nothing after signing in."""
    visitor = Visitor(live)
    visitor.cookies["loadlock-session"] = "planted"
    assert visitor.post("/login", {"token": token, "next": "/"}).status == 303
    assert visitor.cookies["loadlock-session"] != "planted"
    first = dict(visitor.cookies)
    assert visitor.post("/login", {"token": token, "next": "/"}).status == 303
    assert visitor.cookies != first
    thief = Visitor(live)
    for cookies in ({"loadlock-session": "planted"}, first):
        thief.cookies = dict(cookies)
        assert thief.get("/").status == 303


def test_one_person_has_so_many_sessions(live: Live, token: str) -> None:
    visitors = []
    for _ in range(MAX_SESSIONS + 1):
        live.now += timedelta(seconds=1)
        visitors.append(Visitor(live, token))
    assert [visitor.get("/").status for visitor in (visitors[0], visitors[1], visitors[-1])] == [303, 200, 200]


# -- where to go then --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted", ["/", "/plugins", "/plugins/csv_exporter", "/audit?actor=ann&before=7", "/search?q=a%20b"]
)
def test_a_page_of_the_console_is_where_one_goes(wanted: str) -> None:
    assert way(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        "", "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/%5cevil.example/../..",
        "/@evil.example", "/./..//evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: a=b", "/a#b",
        "/" + "a" * 600, "/..", "plugins",
    ],
)  # fmt: skip
def test_no_other_place_is(live: Live, token: str, wanted: str) -> None:
    assert way(wanted) == "/"
    visitor = Visitor(live)
    answer = visitor.post("/login", {"token": token, "next": wanted})
    assert answer.headers["location"] == "/console/"


def test_a_place_to_go_that_is_none_holds_nobody_up() -> None:
    """Anybody may send it, and it is judged where all requests are: in a process of its own, which may be given up."""
    script = """
import sys
from crl_server.console.entrance import MAX_NEXT, way
for wanted in sys.argv[1:]:
    print(way(wanted))
"""
    parts = ("a", "a/", "a.", "a%41", "a:", "?a=")
    wanted = ["/" + (part * MAX_NEXT)[: MAX_NEXT - 2] + "!" for part in parts]
    assert in_fresh_process(script, *wanted).split() == ["/"] * len(parts)
