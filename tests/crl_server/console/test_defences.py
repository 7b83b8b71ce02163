"""What somebody else's page, somebody else's plugin and somebody without the role can do: nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from crl_server.access.roles import STAFF, StaffRole
from crl_server.console.forms import MAX_FIELDS, MAX_FORM
from crl_server.records.audit import parse_entry
from crl_server.revocation import reinstating
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.console.world import HOSTILE, World
from tests.crl_server.deployments import HOUR, NOW, digest
from tests.crl_server.live import Live

PAGES = {
    "/": STAFF,
    "/plugins": STAFF,
    "/plugins/sample_plugin": STAFF,
    "/revocations": STAFF,
    "/rules": STAFF,
    "/approvals": STAFF,
    "/waivers": STAFF,
    "/search?q=a": STAFF,
    "/events/1": STAFF,
    f"/artifacts/{digest('a')}": STAFF,
    "/revoke": ("revoker",),
    "/audit": ("approver", "auditor", "operator"),
}
"""Every page, and whose it is: the API's own table."""
FORMS = {
    "/revoke/review": ("revoker",),
    "/revoke": ("revoker",),
    "/approvals": ("revoker", "approver"),
    "/approvals/1": ("approver",),
    "/waivers": ("operator",),
    "/waivers/1/approval": ("approver",),
    "/waivers/1/end": ("revoker", "approver", "operator"),
}


class Reader(HTMLParser):
    """What a browser would make of a page: scripts, styles and handlers that stand in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.active: list[str] = []
        self.sources: list[str] = []
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag if tag in ("script", "style") else ""
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").lower().startswith("javascript:"):
                self.active.append(f"{tag} {name}")
            if name in ("src", "href") and tag in ("script", "link", "img"):
                self.sources.append(value or "")

    def handle_endtag(self, _: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in and data.strip():
            self.active.append(f"{self._in}: {data[:40]}")


def order(**more: str) -> dict[str, str]:
    return {"kind": "artifacts", "digests": digest("defences"), "reason": "mistake", "note": ""} | more


def seq(live: Live) -> int:
    with live.authority.store.read() as ledger:
        return ledger.last_seq()


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/login", "/plugins", "/nothing", "/static/console.css", "/static/htmx.min.js"])
def test_every_answer_forbids_what_it_does_not_need(ann: Visitor, path: str) -> None:
    headers = ann.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
        "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_files_are_kept_for_ever_under_the_address_of_their_content(ann: Visitor) -> None:
    (address,) = re.findall(r'href="/console(/static/console\.css\?v=[0-9a-f]{16})"', ann.page("/"))
    answer = ann.get(address)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert ann.get(address, {"If-None-Match": answer.headers["etag"]}).status == 304
    assert "immutable" not in ann.get(address[:-1]).headers["cache-control"]


@pytest.mark.parametrize("name", ["../render.py", "..%2frender.py", "base.html", "htmx.LICENSE.txt", ""])
def test_nothing_else_is_a_file(ann: Visitor, name: str) -> None:
    assert ann.get(f"/static/{name}").status == 404


@pytest.mark.parametrize("path", PAGES)
def test_a_page_holds_no_script_and_no_style_of_its_own(ann: Visitor, path: str) -> None:
    reader = Reader(ann.page(path))
    assert reader.active == []
    assert [source for source in reader.sources if not source.startswith("/console/static/")] == []


# -- hostile plugins ---------------------------------------------------------------------------------------------------


def test_what_a_manifest_says_is_text(ann: Visitor, world: tuple[World, Live]) -> None:
    digest_of = world[0].wheels["other_plugin 0.9"].digest
    shown = 0
    for path in (
        "/plugins",
        "/plugins/other_plugin",
        f"/artifacts/{digest_of}",
        "/revocations",
        "/",
        "/search?q=owned",
    ):
        page = ann.page(path)
        assert HOSTILE not in page, path
        assert "<img src=x" not in page
        assert Reader(page).active == []
        assert "$49" not in page
        shown += "&lt;script&gt;document.title=&#39;owned&#39;" in page
    assert shown == 6


def test_what_a_visitor_says_is_text(ann: Visitor) -> None:
    for path in ("/plugins?q=%22%3E%3Cscript%3E1", "/search?q=%3Cscript%3E1", "/audit?actor=%22%3E%3Cscript%3E1",
                 "/revoke?digest=%3C/textarea%3E%3Cscript%3E1", "/revocations?by=%22%3E%3Cscript%3E1",
                 "/login?next=%22%3E%3Cscript%3E1", "/plugins/%3Cscript%3E", "/artifacts/%3Cscript%3E1"):  # fmt: skip
        page = ann.get(path).body.decode()
        assert "<script>1" not in page, path
        assert Reader(page).active == [], path


# -- forms of other sites ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1.evil.example", "http://localhost:1"],
)
@pytest.mark.parametrize("path", [*FORMS, "/login", "/logout"])
def test_a_form_of_another_site_does_nothing(ann: Visitor, live: Live, path: str, origin: str) -> None:
    before = seq(live)
    form = ann.fields(ann.page("/approvals"), "/logout") | order()
    answer = ann.post(path, form, {"Origin": origin})
    assert (answer.status, "auth.form" in answer.body.decode()) == (403, True)
    assert (seq(live), ann.get("/approvals").status) == (before, 200)


@pytest.mark.parametrize("path", [*FORMS, "/logout"])
def test_a_form_without_the_sessions_own_token_does_nothing(
    ann: Visitor, live: Live, tokens: dict[str, str], path: str
) -> None:
    other = Visitor(live, tokens["second"])
    theirs = other.fields(other.page("/approvals"), "/logout")["form_token"]
    before = seq(live)
    for form_token in ("", "0" * 64, theirs):
        answer = ann.post(path, order(form_token=form_token))
        assert (answer.status, "auth.form" in answer.body.decode()) == (403, True)
    assert (seq(live), ann.get("/approvals").status) == (before, 200)


@pytest.mark.parametrize("path", [*FORMS, "/logout"])
def test_nobody_sends_a_form_who_is_not_signed_in(live: Live, path: str) -> None:
    answer = Visitor(live).post(path, order())
    assert (answer.status, "auth.session" in answer.body.decode()) == (401, True)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_who_is_not_signed_in(live: Live, path: str) -> None:
    answer = Visitor(live).get(path)
    assert (answer.status, answer.body) == (303, b"")
    assert answer.headers["location"].startswith("/console/login")
    fragment = Visitor(live).get(path, {"HX-Request": "true"})
    assert (fragment.status, fragment.headers["hx-redirect"]) == (401, "/console/login")


@pytest.mark.parametrize(
    ("media", "body"),
    [("application/json", b"{}"), ("text/plain", b"a=b"), ("multipart/form-data; boundary=a", b"--a--"), ("", b"a=b")],
)
def test_what_is_no_form_is_refused(ann: Visitor, live: Live, media: str, body: bytes) -> None:
    headers = {
        "Origin": live.address,
        "Content-Type": media,
        "Cookie": f"loadlock-session={ann.cookies['loadlock-session']}",
    }
    answer = live.ask("POST", "/console/logout", body=body, headers=headers)
    assert (answer.status, "request.invalid" in answer.body.decode()) == (400, True)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({f"f{number}": "a" for number in range(MAX_FIELDS + 1)}, 400, "request.invalid"),
        ({"note": "a" * MAX_FORM}, 413, "format.too-large"),
    ],
)
def test_a_form_has_its_caps(ann: Visitor, fields: dict[str, str], status: int, code: str) -> None:
    answer = ann.post("/logout", fields)
    assert (answer.status, code in answer.body.decode()) == (status, True)


# -- roles -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", STAFF)
def test_each_role_sees_as_far_as_the_table_says(live: Live, tokens: dict[str, str], role: StaffRole) -> None:
    visitor = Visitor(live, tokens[role])
    found = {path: visitor.get(path).status for path in PAGES}
    assert found == {path: 200 if role in roles else 403 for path, roles in PAGES.items()}
    menu = visitor.page("/")
    assert ('href="/console/revoke"' in menu) == (role == "revoker")
    assert ('href="/console/audit"' in menu) == (role in PAGES["/audit"])


@pytest.mark.parametrize("role", STAFF)
def test_each_role_acts_as_far_as_the_table_says(live: Live, tokens: dict[str, str], role: StaffRole) -> None:
    visitor = Visitor(live, tokens[role])
    form = visitor.fields(visitor.page("/approvals"), "/logout")
    before = seq(live)
    found = {path: visitor.post(path, form | {"kind": "nothing"}).status for path in FORMS}
    assert {path for path, status in found.items() if status == 403} == {
        path for path, roles in FORMS.items() if role not in roles
    }
    assert seq(live) == before


def test_nobody_approves_a_request_of_their_own(ann: Visitor, live: Live, tokens: dict[str, str]) -> None:
    page = ann.page(f"/artifacts/{digest('d')}")
    form = ann.fields(page, "/approvals") | {"note": "taken back, it was no duplicate"}
    assert ann.post("/approvals", form).status == 303
    listed = ann.page("/approvals")
    assert "yours: somebody else has to approve" in listed
    with live.authority.store.read() as ledger:
        number = max(row.id or 0 for row in reinstating.requests(ledger, 0, 100))
    own = ann.post(f"/approvals/{number}", ann.fields(listed, "/logout"))
    assert (own.status, "reinstatement.own" in own.body.decode()) == (403, True)
    second = Visitor(live, tokens["second"])
    assert (
        second.post(f"/approvals/{number}", second.fields(second.page("/approvals"), f"/approvals/{number}")).status
        == 303
    )
    assert "token:bob" in ann.page("/approvals")


# -- what was confirmed is what was shown ------------------------------------------------------------------------------


def test_nothing_is_revoked_that_was_not_looked_at(ann: Visitor, live: Live) -> None:
    form = ann.fields(ann.page("/revoke"), "/revoke/review") | order()
    before = seq(live)
    for more in ({}, {"seen": "0" * 64, "idempotency": "a"}):
        answer = ann.post("/revoke", form | more)
        assert (answer.status, "has changed since you looked" in answer.body.decode()) == (409, True)
    shown = ann.fields(ann.post("/revoke/review", form).body.decode(), "/revoke")
    for changed in ({"digests": digest("another")}, {"reason": "malicious"}, {"note": "other"}):
        assert ann.post("/revoke", shown | changed).status == 409
    assert seq(live) == before
    first = ann.post("/revoke", shown)
    assert (first.status, seq(live)) == (303, before + 1)
    assert ann.post("/revoke", shown | {"seen": shown["seen"]}).status in (303, 409)
    assert seq(live) == before + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"digests": "sha256:00"}, {"digests": ""}, {"reason": ""}, {"reason": "because"}, {"severity": "dire"},
        {"kind": ""},
        {"kind": "everything"}, {"kind": "plugin", "plugin": "Not An Id"},
        {"kind": "component", "purl": "pkg:pypi/a@1"},
        {"kind": "component", "purl": "pkg:pypi/a", "purl_range": "newest"}, {"kind": "signer"}, {"note": "\x1b[2J"},
    ],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_shown_again(ann: Visitor, live: Live, wrong: dict[str, str]) -> None:
    before = seq(live)
    answer = ann.post("/revoke/review", ann.fields(ann.page("/revoke"), "/revoke/review") | order(**wrong))
    assert (answer.status, "usage.arguments" in answer.body.decode()) == (400, True)
    assert 'action="/console/revoke/review"' in answer.body.decode()
    assert seq(live) == before


def test_many_artifacts_take_their_number_typed(ann: Visitor, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crl_server.console.revoke.MANY", 2)
    wish = {"kind": "plugin", "plugin": "sample_plugin", "reason": "policy-breach"}
    form = ann.fields(ann.page("/revoke"), "/revoke/review") | wish
    page = ann.post("/revoke/review", form).body.decode()
    assert "Type 3 to confirm" in page
    shown = ann.fields(page, "/revoke")
    before = seq(live)
    for typed in ("", "2", "three"):
        assert ann.post("/revoke", shown | {"typed": typed}).status == 409
    assert seq(live) == before
    done = ann.post("/revoke", shown | {"typed": "3"})
    assert done.status == 303
    assert "R2" in ann.page(done.headers["location"].removeprefix("/console"))
    assert "denies versions of it" in ann.page("/plugins/sample_plugin")


# -- last, since time passes -------------------------------------------------------------------------------------------


def test_a_refused_form_is_recorded(live: Live, tokens: dict[str, str]) -> None:
    live.now = NOW + 2 * HOUR  # past the cap of the tests before
    visitor = Visitor(live, tokens["auditor"])
    visitor.post("/revoke", visitor.fields(visitor.page("/approvals"), "/logout") | order())
    with live.authority.store.read() as ledger:
        last = [parse_entry(line) for line in ledger.audit_lines()][-1]
    assert (last.actor, last.action, last.subject) == ("token:auditor", "access.denied", "revocation.add")
