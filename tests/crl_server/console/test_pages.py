"""The console without JavaScript: every page, as HTTP alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from crl_server.console import catalogue
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.console.world import World, served
from tests.crl_server.deployments import DAY, NOW, digest
from tests.crl_server.live import Live


@pytest.fixture(scope="module")
def world(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Live]]:
    """A deployment on each engine in turn, and its server."""
    with served(tmp_path_factory.mktemp(engine) / "acme") as both:
        yield both


def test_the_overview_says_what_stands(ann: Visitor) -> None:
    page = ann.page("/")
    for words in (
        "8</strong> artifacts revoked",
        "1</strong> standing rule",
        "2</strong> plugins",
        "the policy expires at",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/plugins", ["sample_plugin", "other_plugin", "network, file-write, logging"]),
        ("/plugins?q=other", ["other_plugin", "Plugins that fit"]),
        ("/plugins?q=nothing", ["No plugin fits"]),
        (
            "/plugins/sample_plugin",
            ["talks to other machines", "every host below mirror.example.org", "at most 256 MiB"],
        ),
        ("/plugins?capability=file-write&maturity=stable", ["sample_plugin"]),
        ("/hosts", ["2 of 3 hosts", "1 behind", "1 silent", "web-1", "up to date"]),
        ("/hosts?purl=pkg:pypi/attrs", ["web-1", "sample_plugin"]),
        ("/hosts?purl=parser", ["usage.arguments"]),
        ("/hosts/batch", ["behind", "sample_plugin"]),
        ("/events/1", ["3 of 3 hosts enforce event 1"]),
        ("/revocations", ["wrong digest, see the ticket", "oidc:sso:carol"]),
        ("/revocations?reason=mistake", ["wrong digest"]),
        ("/rules", ["pkg:pypi/left-pad", "until it is mended", "in force"]),
        ("/approvals", ["the report was about another plugin", "Approve"]),
        ("/audit", ["Whole.", "artifact.revoke", "session.begin"]),
        ("/audit?action=rule.add", ["oidc:sso:dora"]),
        ("/search?q=sample", ["/console/plugins/sample_plugin"]),
        ("/search?q=left-pad", ["finds for"]),
        ("/search?q=R1", ["component, vulnerability"]),
        ("/search?q=cve-2026-0001", ["CVE-2026-0001 in the parser"]),
        ("/search?q=UNTIL it is", ["component, vulnerability"]),
        ("/search?q=LEFT-pad", ["finds for"]),
        ("/search", ["a digest or its beginning"]),
    ],
)
def test_each_page_shows_what_it_is_for(ann: Visitor, path: str, words: list[str]) -> None:
    page = ann.page(path)
    assert [word for word in words if word not in page] == []


def test_a_plugin_with_many_versions_is_told_in_pages(
    ann: Visitor, world: tuple[World, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "SHOWN", 2)
    newest, *others = (world[0].wheels[f"sample_plugin {version}"].digest for version in ("1.2", "1.1", "1.0"))
    first = ann.page("/plugins/sample_plugin")
    assert [digest in first for digest in (newest, *others)] == [True, True, False]
    (following,) = re.findall(r'rel="next" href="/console([^"#]+)', first)
    second = ann.page(following)
    assert [digest in second for digest in (newest, *others)] == [False, False, True]
    assert ("What version 1.2 may do" in second, 'rel="next"' in second) == (True, False)
    assert ann.get(f"/plugins/other_plugin?after={newest}").status == 404


def test_an_artifact_shows_its_evidence(ann: Visitor, world: tuple[World, Live]) -> None:
    page = ann.page(f"/artifacts/{world[0].wheels['sample_plugin 1.2'].digest}")
    for words in ("Manifest", "Provenance", "Certification", "SBOM", ">owner", ">builder", ">certifier", "counts"):
        assert words in page


def test_a_revoked_artifact_says_so(ann: Visitor, world: tuple[World, Live]) -> None:
    assert "CVE-2026-0001" in ann.page(f"/artifacts/{world[0].wheels['sample_plugin 1.0'].digest}")
    assert "was not admitted here" in ann.page(f"/artifacts/{digest('a')}")


def test_revoking_shows_what_it_reaches_before_it_is_done(ann: Visitor, world: tuple[World, Live]) -> None:
    wheel = world[0].wheels["sample_plugin 1.1"]
    form = ann.fields(ann.page("/revoke"), "/revoke/review")
    wish = {
        "kind": "artifacts",
        "digests": wheel.digest,
        "reason": "vulnerability",
        "severity": "high",
        "note": "see the ticket",
    }
    review = ann.post("/revoke/review", form | wish)
    page = review.body.decode()
    assert (review.status, "1</strong> of 4 admitted artifacts" in page, "sample_plugin" in page) == (200, True, True)
    assert "in use" in ann.page("/plugins/sample_plugin")
    done = ann.post("/revoke", ann.fields(page, "/revoke"))
    assert done.status == 303
    assert wheel.digest in ann.page(done.headers["location"].removeprefix("/console"))
    shown = ann.page(f"/artifacts/{wheel.digest}")
    assert "Revoked." in shown
    assert ">high</span>" in shown


def test_the_servers_own_address_leads_to_the_console(live: Live) -> None:
    for path in ("/", "/console"):
        answer = live.ask("GET", path)
        assert (answer.status, answer.headers["location"]) == (303, "/console/")


def test_a_list_that_has_expired_is_told_first_of_all(live: Live, tokens: dict[str, str]) -> None:
    live.now = NOW + 2 * DAY
    page = Visitor(live, tokens["all"]).page("/")
    assert "server.not-ready" in page
    assert "the signed list has expired" in page
    assert page.index("server.not-ready") < page.index("artifacts revoked")
