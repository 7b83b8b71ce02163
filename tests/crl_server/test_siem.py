"""The audit log as other systems read it: every action, every field that their schemas require."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema, get_packaged_versions
from packaging.version import Version

from crl_server.commands import events
from crl_server.records import siem
from crl_server.records.audit import EMPTY, Act, Action, append, verify_log
from tests.crl_server.deployments import ACTOR, DAY, NOW, SERVER, digest, made
from tests.crl_server.live import Live, refusal
from tests.crl_server.test_cli import run
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Name

LATER = sorted(v for v in get_packaged_versions() if Version(v) >= Version(siem.VERSION))
"""The version that events are in, and those after it, in which nothing of them may have gone."""


@cache
def schema(version: str) -> Draft202012Validator:
    """The published schema of OCSF's class Entity Management, which allows nothing that it does not name."""
    return Draft202012Validator(OcsfJsonSchemaEmbedded(get_ocsf_schema(version)).get_class_schema("entity_management"))


def line(action: Action, subject: str = digest(1), **detail: Any) -> bytes:
    entry, _ = append(EMPTY, Act("token:ann", action, subject, detail), NOW)
    return entry


@pytest.mark.parametrize("action", get_args(Action))
def test_each_action_makes_an_event_of_ocsf(action: Action) -> None:
    entry = line(action, note="why")
    event = json.loads(siem.ocsf(entry, SERVER))
    assert event["metadata"]["version"] == siem.VERSION
    assert (event["class_uid"], event["category_uid"]) == (3004, 3)
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["activity_id"] in {1, 2, 3, 4, 99}
    assert (event["activity_name"] == action) == (event["activity_id"] == 99)
    assert event["severity_id"] in range(1, 6)
    assert event["time"] == int(NOW.timestamp() * 1000)
    assert (event["metadata"]["uid"], event["metadata"]["sequence"]) == (sha256_hex(entry), 0)
    assert (event["actor"]["user"]["name"], event["comment"]) == ("token:ann", "why")


@pytest.mark.parametrize("version", LATER)
def test_every_event_of_ocsf_is_as_its_published_schema_says(version: str) -> None:
    for action in get_args(Action):
        for subject in (digest(1), ""):
            for detail in ({}, {"note": "why", "severity": "critical", "digests": [1, {"a": None}]}):
                event = json.loads(siem.ocsf(line(action, subject, **detail), SERVER))
                event["metadata"]["version"] = version
                wrong = [f"{list(error.absolute_path)} {error.message}" for error in schema(version).iter_errors(event)]
                assert (action, wrong) == (action, [])


@pytest.mark.parametrize(
    "spoilt", [{"severity_id": 7}, {"time": "now"}, {"entity": {}}, {"actors": {}}, {"metadata": {}}]
)
def test_the_published_schema_notices(spoilt: dict[str, Any]) -> None:
    event = json.loads(siem.ocsf(line("rule.add"), SERVER)) | spoilt
    assert not schema(siem.VERSION).is_valid(event)


@pytest.mark.parametrize("action", get_args(Action))
def test_each_action_makes_a_cloudevent(action: Action) -> None:
    for subject in (digest(1), ""):
        body = siem.cloudevent(line(action, subject), SERVER)
        event = JSONFormat().read(CloudEvent, body)
        assert (event.get_specversion(), event.get_source(), event.get_time()) == ("1.0", SERVER, NOW)
        assert event.get_type().startswith("dev.loadlock.")
        assert event.get_datacontenttype() == "application/json"
        assert json.loads(body)["data"]["audit"]["index"] == 0


def test_a_denied_access_is_a_failure_and_a_stated_severity_counts() -> None:
    assert json.loads(siem.ocsf(line("access.denied", code="auth.role"), SERVER))["status_id"] == 2
    assert json.loads(siem.ocsf(line("artifact.revoke", severity="critical"), SERVER))["severity_id"] == 5
    assert json.loads(siem.ocsf(line("artifact.revoke"), SERVER))["severity_id"] == 3


@pytest.fixture(scope="module")
def live(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    authority = made(tmp_path_factory.mktemp(engine) / "acme")
    for number in range(7):
        authority.create_token(Name(f"auditor-{number}"), ["auditor"], DAY, ACTOR, NOW)
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.mark.parametrize("form", siem.FORMS)
def test_the_whole_log_is_exported_page_by_page(live: Live, form: str) -> None:
    token = live.authority.create_token(Name(f"reader-{form}"), ["auditor"], DAY, ACTOR, NOW)
    path, lines = f"/v1/audit/export?format={form}&limit=3", list[bytes]()
    while path:
        answer = live.ask("GET", path, token)
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines += answer.body.splitlines()
        link = answer.headers.get("link", "")
        path = link[1 : link.index(">")] if link else ""
    with live.authority.store.read() as ledger:
        kept = list(ledger.audit_lines())
    assert lines == [siem.WRITERS[form](entry, SERVER) for entry in kept]  # type: ignore[index]
    if form == "entries":
        head = live.authority.standing(NOW).revocations.head
        assert verify_log(lines, head.audit).count == len(kept)
    refusal(live.ask("GET", "/v1/audit/export?format=xml", token), 400, "request.invalid")


def test_the_page_of_the_specification_shows_what_is_written() -> None:
    page = Path("docs/spec/siem.md").read_text("utf-8")
    for action in get_args(Action):
        assert f"`{action}`" in page, action


@pytest.mark.parametrize("form", siem.FORMS)
def test_the_command_writes_what_the_server_says(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(events, "PAGE", 3)
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(live.authority.layout.root))
    token = tmp_path / "token"
    token.write_text(live.authority.create_token(Name(f"command-{form}"), ["auditor"], DAY, ACTOR, NOW))
    here = run("audit", "events", "--format", form, "-o", tmp_path / "here")
    there = run(
        "audit", "events", "--format", form, "-o", tmp_path / "there", "--server", live.address, "--token-file", token
    )
    assert here == there
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    rest = run("audit", "events", "--format", form, "-o", tmp_path / "rest", "--after", here["last"] - 2)
    assert rest["entries"] == 2
