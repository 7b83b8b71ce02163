"""pip-audit over a real service on loopback: whatever is no answer is a reason, and never an all-clear."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from attestor.checking import scanner as module
from attestor.checking.scanner import over_service
from tests.attestor.advisories import CRITICAL, MEDIUM, Reply, Service, advisory, answer, serving
from verifier.errors import UsageError


@pytest.fixture
def service() -> Iterator[Service]:
    with serving({"alpha": [advisory("GHSA-1", aliases=["CVE-1", "PYSEC-1"])]}) as made:
        yield made


def body(value: Any) -> Reply:
    return lambda handler: answer(handler, 200, value if isinstance(value, bytes) else json.dumps(value).encode())


def status(code: int, **headers: str) -> Reply:
    return lambda handler: answer(handler, code, b"{}", **headers)


def compressed(handler: BaseHTTPRequestHandler) -> None:
    answer(handler, 200, gzip.compress(b"{}"), **{"Content-Encoding": "gzip"})


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://host.example/v1/query",
        "ftp://host.example",
        "host.example",
        "https://",
        "https://alice:secret@host.example",
    ],
)
def test_addresses_that_cannot_be_trusted_are_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        over_service("osv", address)
    assert caught.value.code == "usage.configuration"
    assert "secret" not in str(caught.value)


def test_another_release_of_pip_audit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASES", "1.")
    with pytest.raises(UsageError) as caught:
        over_service("osv")
    assert caught.value.code == "usage.extra"


# -- no answer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (status(400), "the service answered with status 400"),
        (status(404), "the service answered with status 404"),
        (body(b""), "the service's answer is not what was asked for"),
        (body(b"<html>"), "the service's answer is not what was asked for"),
        (body([]), "the service's answer is not what was asked for"),
        (body({"vulns": {}}), "the service's answer is not what was asked for"),
        (body({"vulns": [{"id": "X"}]}), "the service's answer is not what was asked for"),
        (body({"vulns": [], "next_page_token": "2"}), "the service's answer is not what was asked for"),
        (body({"info": {}, "urls": []}), "the service's answer is not what was asked for"),
        (body(b'{"vulns":[],"vulns":[]}'), "the service's answer is not what was asked for"),
        (body({"vulns": [advisory(schema_version="2.0")]}), "the service's answer was not read in full"),
        (body({"vulns": [advisory(affected=[{}])]}), "the service's answer cannot be used: KeyError"),
    ],
)
def test_what_is_no_answer_is_a_reason(service: Service, reply: Reply, reason: str) -> None:
    service.reply = reply
    found = over_service("osv", service.url).ask("beta", "1.0")
    assert (found.findings, found.reason, found.gone) == ((), reason, False)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (status(500), "the service answered with status 500"),
        (status(503), "the service answered with status 503"),
        (hangs_up, "the service cannot be reached"),
        (status(307, Location="http://host.example/v1"), "the service leads to an address that cannot be trusted"),
    ],
)
def test_a_service_that_is_not_there_is_a_reason(service: Service, reply: Reply, reason: str) -> None:
    service.reply = reply
    found = over_service("osv", service.url).ask("beta", "1.0")
    assert (found.findings, found.reason, found.gone) == ((), reason, True)


def test_nobody_at_the_address_is_a_reason() -> None:
    with serving({}) as service:
        url = service.url
    found = over_service("osv", url).ask("beta", "1.0")
    assert (found.reason, found.gone) == ("the service cannot be reached", True)


def test_a_service_that_hangs_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hangs(handler: BaseHTTPRequestHandler) -> None:
        over.wait(10)
        hangs_up(handler)

    service.reply = hangs
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    scanner = over_service("osv", service.url)
    found = scanner.ask("beta", "1.0")
    over.set()
    assert (found.reason, found.gone) == ("the service did not answer in time", True)


@pytest.mark.parametrize("reply", [body(b" " * 5000), compressed])
def test_an_endless_answer_is_cut_off(service: Service, reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 1)
    service.reply = reply
    assert over_service("osv", service.url).ask("beta", "1.0").reason == "the service's answer is too large"


@pytest.mark.parametrize(
    ("answered", "known"),
    [
        ({"vulnerabilities": []}, True),
        ({}, False),
        ({"vulnerabilities": None}, False),
        ({"vulnerabilities": {}}, False),
    ],
)
def test_an_index_that_knows_no_vulnerability_data_has_not_answered(answered: Any, known: bool) -> None:
    adapter = module._Adapter("pypi", {})
    data = json.dumps(answered).encode()
    if known:
        adapter._examine(data)
        return
    with pytest.raises(module._NoAnswer):
        adapter._examine(data)


# -- answered ----------------------------------------------------------------------------------------------------------


def test_nothing_known_is_an_answer(service: Service) -> None:
    assert over_service("osv", service.url).ask("beta", "1.0") == module.Answer()
    assert service.queries == [{"package": {"name": "beta", "ecosystem": "PyPI"}, "version": "1.0"}]
    service.reply = compressed
    assert over_service("osv", service.url).ask("beta", "1.0") == module.Answer()


def test_a_finding_has_all_its_names_what_mends_it_and_how_severe_it_is(service: Service) -> None:
    (found,) = over_service("osv", service.url).ask("alpha", "2.0").findings
    assert (found.id, found.aliases, found.fixed) == ("PYSEC-1", ("CVE-1", "GHSA-1"), ("2.1",))
    assert (found.rating, [entry.score for entry in found.severities]) == ("critical", [CRITICAL])


def test_two_advisories_of_one_vulnerability_are_one_finding_of_the_worst_rating(service: Service) -> None:
    weak = advisory("PYSEC-1", aliases=["CVE-1"], severity=[{"type": "CVSS_V3", "score": MEDIUM}])
    service.advisories = {"alpha": [weak, advisory("GHSA-1", aliases=["CVE-1"])]}
    (found,) = over_service("osv", service.url).ask("alpha", "2.0").findings
    assert (found.id, found.aliases, found.rating) == ("PYSEC-1", ("CVE-1", "GHSA-1"), "critical")
    service.advisories = {"alpha": [advisory(severity=[])]}
    (found,) = over_service("osv", service.url).ask("alpha", "2.0").findings
    assert found.rating == "unknown"


def test_nothing_is_taken_from_a_cache(service: Service) -> None:
    asked = over_service("osv", service.url)
    assert asked.ask("beta", "1.0") == asked.ask("beta", "1.0")
    assert len(service.queries) == 2


def test_what_a_service_writes_cannot_steer_a_terminal(service: Service) -> None:
    service.advisories = {"alpha": [advisory("X\x1b[31m", aliases=["\u202eY"], summary="a\x07")]}
    (found,) = over_service("osv", service.url).ask("alpha", "2.0").findings
    assert "".join((found.id, *found.aliases, found.summary)).isprintable()
