"""Pages of the console that grow with time have an end, and lead on to the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from crl_server.console import approvals, revocations
from crl_server.revocation.reinstating import Wish
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, revoke
from tests.crl_server.live import Live
from verifier.formats.text import Name

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def ann(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Visitor]:
    """Somebody who approves, and sees two rows of everything at a time."""
    for module in (approvals, revocations):
        monkeypatch.setattr(module, "SHOWN", 2)
    token = authority.create_token(Name("ann"), ["approver"], DAY, ACTOR, NOW)
    with Live(authority) as live:
        yield Visitor(live, token)


def walked(ann: Visitor, path: str, rows: str, more: str = "") -> list[list[str]]:
    """What ``rows`` finds on each page, from the first to the last."""
    found = []
    following = [path]
    while following:
        page = ann.page(following[0])
        found.append(re.findall(rows, page))
        following = re.findall(rf'rel="next" href="/console([^"#]+{more}[^"#]*)', page)
        assert len(found) < 10, "the pages do not end"
    return found


def test_standing_rules(authority: Authority, ann: Visitor) -> None:
    for number in range(5):
        authority.add_rule(NewRule("component", {"purl": f"pkg:pypi/x{number}"}, "malicious"), ACTOR, NOW)
    assert walked(ann, "/rules", r'<tr id="(R\d+)"') == [["R5", "R4"], ["R3", "R2"], ["R1"]]
    page = ann.page("/search?q=R2")
    (link,) = re.findall(r'href="/console(/rules[^"#]*)#R2"', page)
    assert '<tr id="R2"' in ann.page(link), "a link to a rule leads to the page that it is on"


def test_requests_that_await_somebody(authority: Authority, ann: Visitor) -> None:
    revoke(authority, *range(7))
    numbers = [authority.request_reinstatement(Wish(digest(n), None, "a mistake"), ACTOR, NOW).id for n in range(7)]
    for number in numbers[4:]:
        authority.approve_reinstatement(number, "local:ben", NOW)
    approvable = r'action="/console/approvals/(\d+)"'
    assert walked(ann, "/approvals", approvable, "awaiting=") == [["1", "2"], ["3", "4"]]
    agreed = r'<th scope="row">(\d+)</th>(?:(?!</tr>).)*<td>local:ben</td>'
    assert walked(ann, "/approvals", agreed, "approved=") == [["5", "6"], ["7"]]
