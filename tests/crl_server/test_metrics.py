"""``/metrics``: read by Prometheus's own parser, and only by whom the settings name."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest, parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from crl_server.access.tokens import create_token
from crl_server.export.exporter import Exporter
from crl_server.export.places import Directory
from crl_server.export.worker import ExportWorker
from crl_server.operating.instruments import Instruments
from crl_server.operating.request_context import observed
from crl_server.service import Authority
from crl_server.settings import Metrics, Settings
from tests.crl_server.deployments import DAY, HOUR, NOW, digest, revoke
from tests.crl_server.live import Answer, Live
from tests.crl_server.takebacks import add_rule, admit, subject
from tests.waiting import until
from verifier.formats.text import Name

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample, by its name and labels, as Prometheus's parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(live: Live) -> Samples:
    answer = live.ask("GET", "/metrics")
    assert answer.status == 200
    return samples(answer.body.decode())


def plain(found: Samples) -> dict[str, float]:
    """The samples without labels."""
    return {name: value for (name, labels), value in found.items() if not labels}


def allow(authority: Authority, access: str) -> None:
    authority.settings = Settings(metrics=Metrics(access=access))  # type: ignore[arg-type]


def token(authority: Authority, role: str) -> str:
    with authority.store.write() as ledger:
        return create_token(ledger, Name(role), (role,), timedelta(days=1), NOW)  # type: ignore[arg-type]


def test_they_tell_of_the_list_and_of_what_is_kept(authority: Authority) -> None:
    admit(authority, subject("first", "team-b"))
    revoke(authority, "first", "second")
    add_rule(authority)
    with Live(authority) as live:
        live.now = NOW + HOUR
        found = plain(read(live))
    expected = {
        "loadlock_list_epoch": 1, "loadlock_list_seq": 2, "loadlock_committed_seq": 2, "loadlock_list_entries": 2,
        "loadlock_list_tail_entries": 2, "loadlock_list_rules": 1, "loadlock_head_age_seconds": 3600,
        "loadlock_ready": 1, "loadlock_artifacts": 1, "loadlock_revocations_total": 2, "loadlock_push_streams": 0,
        "loadlock_hosts": 0, "loadlock_hosts_lagging": 0, "loadlock_hosts_silent": 0,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert found["loadlock_audit_entries_total"] == authority.verify_audit(NOW).count


def test_they_tell_for_how_long_everything_is_valid(authority: Authority) -> None:
    with Live(authority) as live:
        live.now = NOW + HOUR
        found = read(live)
    left = {dict(labels)["name"]: value for (name, labels), value in found.items() if name == "loadlock_expiry_seconds"}
    (key,) = [name for name in left if name.startswith("head-key:sha256:")]
    days = {"root": 365, "checkpoints": 365, "targets": 30, "policy": 30, "snapshot": 7, "timestamp": 1, "head": 1}
    assert left == {name: days * 86400 - 3600 for name, days in (days | {key: 365}).items()}
    assert {value for (name, _), value in found.items() if name == "loadlock_expiry_near"} == {0}


def test_what_is_about_to_expire_is_marked_with_who_renews_it(authority: Authority) -> None:
    with Live(authority) as live:
        live.now = NOW + 29 * DAY
        found = read(live)
    near = {labels for (name, labels), value in found.items() if name == "loadlock_expiry_near" and value}
    assert near == {
        (("name", name), ("renewed_by", who))
        for name, who in (
            ("policy", "people"), ("targets", "people"), ("head", "service"), ("timestamp", "service"),
            ("snapshot", "service"),
        )
    }  # fmt: skip
    assert plain(found)["loadlock_ready"] == 0


def test_requests_are_counted_by_route_and_never_by_what_somebody_asked_for(authority: Authority) -> None:
    with Live(authority) as live:
        for path in ("/v1/plugins", "/v1/plugins", "/lists/head.json", "/no/such/thing", "/v1/artifacts/x%0A"):
            live.ask("GET", path)
        live.ask("PROPFIND", "/v1/plugins")
        found = read(live)
    counted = {labels: value for (name, labels), value in found.items() if name == "loadlock_http_requests_total"}

    def label(method: str, route: str, status: int) -> tuple[tuple[str, str], ...]:
        return (("method", method), ("route", route), ("status", str(status)))

    assert counted[label("GET", "/v1/plugins", 401)] == 2
    assert counted[label("GET", "/{path:path}", 200)] == 1
    assert counted[label("GET", "/{path:path}", 404)] == 1
    assert counted[label("GET", "/v1/artifacts/{digest}", 400)] == 1
    assert sum(counted.values()) == 6
    assert {dict(labels)["method"] for labels in counted} == {"GET", "other"}
    timed = {labels: value for (name, labels), value in found.items() if name == "loadlock_http_request_seconds_count"}
    assert timed[(("method", "GET"), ("route", "/v1/plugins"))] == 2


def test_exports_are_told_of(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    places = {"mirror": tmp_path / "mirror", "blocked": tmp_path / "blocked"}
    workers = [
        ExportWorker(authority, Exporter(authority, name, Directory(root), DAY), lambda: NOW, look=0.01)
        for name, root in places.items()
    ]
    instruments = Instruments(workers)
    instruments.watch(authority, lambda: NOW + HOUR)
    revoke(authority, "first")
    with workers[0], workers[1]:
        until(lambda: workers[0].state.succeeded and workers[1].state.failures)
    found = samples(generate_latest(instruments.registry).decode())

    def of(name: str, export: str) -> float:
        return found[(f"loadlock_export_{name}", (("export", export),))]

    assert (of("seq", "mirror"), of("lag_seconds", "mirror"), of("failing", "mirror")) == (1, 0, 0)
    assert (of("seq", "blocked"), of("lag_seconds", "blocked"), of("failing", "blocked")) == (0, 3600, 1)
    assert of("failures_total", "blocked") >= 1
    assert of("files_written_total", "mirror") > 5


def test_openmetrics_is_spoken_where_it_is_asked_for(authority: Authority) -> None:
    with Live(authority) as live:
        answer = live.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = openmetrics_families(answer.body.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"loadlock_ready"}


def test_a_database_that_does_not_answer_is_told_of_and_not_an_error(authority: Authority) -> None:
    with Live(authority) as live:
        authority.store.close()
        for path in authority.layout.database.parent.glob("loadlock.sqlite*"):
            path.write_bytes(b"not a database " * 1000)
        found = plain(read(live))
        assert found["loadlock_ready"] == 0
        assert "loadlock_artifacts" not in found
        assert found["loadlock_list_seq"] == 0


# -- who may read them -------------------------------------------------------------------------------------------------


def ask(live: Live, presented: str = "", **headers: str) -> Answer:
    return live.ask("GET", "/metrics", presented, headers={name.replace("_", "-"): v for name, v in headers.items()})


def test_this_machine_may_and_what_comes_through_a_proxy_may_not(authority: Authority) -> None:
    with Live(authority) as live:
        assert ask(live).status == 200
        for header in ("Forwarded", "Via", "X_Forwarded_For", "X_Real_IP", "X_Forwarded_Proto"):
            assert ask(live, **{header: "192.0.2.1"}).status == 401
        assert ask(live, token(authority, "operator"), Via="1.1 proxy").status == 200


def test_a_token_is_asked_for_where_the_settings_say_so(authority: Authority) -> None:
    allow(authority, "token")
    with Live(authority) as live:
        assert ask(live).status == 401
        for role, status in (("operator", 200), ("auditor", 200), ("publisher", 403), ("revoker", 403)):
            assert ask(live, token(authority, role)).status == status


def test_anybody_may_where_the_settings_say_so(authority: Authority) -> None:
    allow(authority, "open")
    with Live(authority) as live:
        assert ask(live, Via="1.1 proxy").status == 200


def test_they_hold_no_secret(authority: Authority) -> None:
    revoke(authority, "first")
    with Live(authority) as live:
        secret = token(authority, "operator")
        live.ask("GET", f"/v1/plugins?token={secret}", secret)
        text = live.ask("GET", "/metrics").body.decode()
    assert secret not in text
    assert digest("first") not in text


def test_a_stream_is_counted_and_its_length_is_not() -> None:
    instruments = Instruments()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def nobody(_: Any = None) -> Any:
        return {"type": "http.disconnect"}

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/v1/events", "headers": []}
        await observed(stream, instruments)(scope, nobody, nobody)

    asyncio.run(ask())
    found = samples(generate_latest(instruments.registry).decode())
    assert found[("loadlock_http_requests_total", (("method", "GET"), ("route", "other"), ("status", "200")))] == 1
    assert not any(name == "loadlock_http_request_seconds_count" for name, _ in found)
