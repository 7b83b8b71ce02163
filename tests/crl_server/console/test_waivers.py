"""Waivers in the console: what is refused, and the way from asking over the second person to an early end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from crl_server.api.waivers import waivers
from crl_server.revocation.waiving import in_effect
from crl_server.trust.policies import with_waivers
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.console.world import World, served
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest
from tests.crl_server.live import Answer, Live


@pytest.fixture(scope="module")
def world(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Live]]:
    """A deployment on each engine in turn, and its server."""
    with served(tmp_path_factory.mktemp(engine) / "acme") as both:
        yield both


@pytest.fixture
def bob(live: Live, tokens: dict[str, str]) -> Visitor:
    """Another person with every role."""
    return Visitor(live, tokens["second"])


def plea(**more: str) -> dict[str, str]:
    return {"artifact": digest("x"), "lifts": "stale-list", "hours": "24", "reason": "no network until noon"} | more


def ask(visitor: Visitor, **more: str) -> Answer:
    return visitor.post("/waivers", visitor.fields(visitor.page("/waivers"), "/waivers") | plea(**more))


def known(live: Live) -> list[int]:
    return [row.id for row in waivers(live.authority.store, 0, 1000).waivers]


def asked(visitor: Visitor, live: Live, reason: str) -> int:
    assert ask(visitor, reason=reason).status == 303
    return known(live)[-1]


def row_of(page: str, number: int) -> str:
    """What the row of a waiver says, without its tags."""
    (row,) = re.findall(rf'<tr>\s*<th scope="row">{number}</th>.*?</tr>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", row).split())


def offered(page: str, number: int) -> set[str]:
    """The steps that a page offers with a waiver."""
    return set(re.findall(rf'action="/console/waivers/{number}/([a-z]+)"', page))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"artifact": "sha256:00"}, {"artifact": ""}, {"lifts": ""}, {"lifts": "signature"}, {"hours": ""},
        {"hours": "0"}, {"hours": "169"}, {"hours": "-1"}, {"hours": "1e2"}, {"hours": "9" * 50}, {"reason": ""},
        {"reason": "two\nlines"}, {"reason": "x" * 501}, {"reason": "\u202e"},
    ],
)  # fmt: skip
def test_a_plea_that_makes_no_sense_is_shown_again(ann: Visitor, live: Live, wrong: dict[str, str]) -> None:
    before = known(live)
    answer = ask(ann, **wrong)
    page = answer.body.decode()
    assert (answer.status, "usage.arguments" in page) == (400, True)
    kept = plea(**wrong)
    assert f'value="{kept["artifact"]}"' in page
    assert f'value="{kept["hours"]}"' in page
    assert known(live) == before


def test_a_form_without_its_key_is_refused(ann: Visitor, live: Live) -> None:
    before = known(live)
    form = ann.fields(ann.page("/waivers"), "/waivers") | plea() | {"idempotency": ""}
    answer = ann.post("/waivers", form)
    assert (answer.status, "request.invalid" in answer.body.decode()) == (400, True)
    assert known(live) == before


def test_the_same_form_asks_once(ann: Visitor, live: Live) -> None:
    before = len(known(live))
    form = ann.fields(ann.page("/waivers"), "/waivers") | plea(reason="sent twice")
    assert [ann.post("/waivers", form).status for _ in range(2)] == [303, 303]
    other = ann.post("/waivers", form | {"reason": "another under its key"})
    assert (other.status, "request.idempotency" in other.body.decode()) == (422, True)
    assert len(known(live)) == before + 1


def test_nobody_approves_a_waiver_of_their_own(ann: Visitor, live: Live) -> None:
    number = asked(ann, live, "the certifier is away")
    for path, heading in (("/waivers", 'id="awaiting"'), ("/approvals", 'id="waivers"')):
        page = ann.page(path)
        page = page[page.index(heading) :]
        assert "yours: somebody else has to approve" in row_of(page, number)
        assert offered(page, number) == {"end"}
    own = ann.post(f"/waivers/{number}/approval", ann.fields(ann.page("/waivers"), "/logout"))
    assert (own.status, "waiver.own" in own.body.decode()) == (403, True)
    assert "yours: somebody else has to approve" in row_of(ann.page("/waivers"), number)


def test_what_nobody_asked_for_is_neither_approved_nor_ended(bob: Visitor) -> None:
    form = bob.fields(bob.page("/waivers"), "/logout")
    for step in ("approval", "end"):
        answer = bob.post(f"/waivers/9999/{step}", form)
        assert (answer.status, "waiver.unknown" in answer.body.decode()) == (404, True)


def test_pages_offer_what_a_role_may(ann: Visitor, live: Live, tokens: dict[str, str]) -> None:
    number = asked(ann, live, "for all to see")
    for role, asks, steps in (
        ("publisher", False, set()),
        ("auditor", False, set()),
        ("revoker", False, {"end"}),
        ("approver", False, {"approval", "end"}),
        ("operator", True, {"end"}),
    ):
        page = Visitor(live, tokens[role]).page("/waivers")
        assert (role, 'action="/console/waivers"' in page, offered(page, number)) == (role, asks, steps)


def test_words_of_a_plea_are_text(ann: Visitor, live: Live) -> None:
    number = asked(ann, live, "<img src=x onerror=alert(1)>")
    assert "&lt;img src=x" in ann.page("/waivers")
    assert "<img src=x" not in ann.page("/waivers") + ann.page("/approvals")
    assert '<script>"' not in ann.get("/waivers?artifact=%22%3E%3Cscript%3E%22").body.decode()
    assert number in known(live)


# -- what passes -------------------------------------------------------------------------------------------------------


def test_from_asking_to_the_policy_and_to_an_early_end(
    ann: Visitor, bob: Visitor, live: Live, world: tuple[World, Live]
) -> None:
    wheel = world[0].wheels["sample_plugin 1.2"].digest
    page = ann.page(f"/artifacts/{wheel}")
    assert f'href="/console/waivers?artifact={wheel.replace(":", "%3A")}"' in page
    assert f'value="{wheel}"' in ann.page(f"/waivers?artifact={wheel}")
    ask(ann, artifact=wheel, lifts="certification-expiry", reason="the certifier is on leave")
    number = known(live)[-1]
    assert bob.post(f"/waivers/{number}/approval", bob.fields(bob.page("/waivers"), "/logout")).status == 303
    row = row_of(ann.page("/waivers"), number)
    assert "token:bob, just now" in row
    assert "not signed yet" in row
    assert "the certifier is on leave" not in ann.page("/approvals")
    office = live.authority.office()
    with live.authority.store.read() as ledger:
        wanted = in_effect(ledger, NOW)
    office.sign_policy(with_waivers(office.text(), wanted), ACTOR, NOW, "waivers")
    assert "in version" in row_of(ann.page("/waivers"), number)
    assert ann.post(f"/waivers/{number}/end", ann.fields(ann.page("/waivers"), "/logout")).status == 303
    row = row_of(ann.page("/waivers"), number)
    assert "by token:ann, just now" in row
    assert "in version" in row  # until it is signed again
    late = bob.post(f"/waivers/{number}/approval", bob.fields(bob.page("/waivers"), "/logout"))
    assert (late.status, "waiver.ended" in late.body.decode()) == (409, True)
    office.sign_policy(with_waivers(office.text(), ()), ACTOR, NOW, "waivers")
    assert "not in it" in row_of(ann.page("/waivers"), number)


def test_what_has_ended_by_itself_is_listed_as_ended(ann: Visitor, live: Live, tokens: dict[str, str]) -> None:
    number = asked(ann, live, "over tomorrow")
    live.now = NOW + 2 * DAY
    page = Visitor(live, tokens["all"]).page("/waivers")
    assert "over tomorrow" in page[page.index('id="past"') :]
    assert offered(page, number) == set()
