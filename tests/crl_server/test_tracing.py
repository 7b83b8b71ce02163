"""Spans: what they tell, what they leave out, and that nothing needs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from crl_server.service import Authority
from tests.crl_server.deployments import revoke
from tests.crl_server.live import Live
from tests.project.tree import ROOT
from tests.waiting import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def test_a_request_is_a_span_below_the_callers(authority: Authority, spans: InMemorySpanExporter) -> None:
    with Live(authority) as live:
        live.ask(
            "GET", "/v1/plugins?token=loadlock_secret", "loadlock_secret",
            headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "Baggage": "secret=1"},
        )  # fmt: skip
        until(spans.get_finished_spans)
    (found,) = spans.get_finished_spans()
    assert (found.name, found.kind) == ("GET /v1/plugins", SpanKind.SERVER)
    assert found.parent is not None
    assert (f"{found.context.trace_id:032x}", f"{found.parent.span_id:016x}") == (TRACE, PARENT)
    assert dict(found.attributes or {}) == {
        "http.request.method": "GET", "http.route": "/v1/plugins", "http.response.status_code": 401,
    }  # fmt: skip
    assert "secret" not in found.to_json()
    assert found.status.status_code is StatusCode.UNSET


def test_publishing_is_a_span(authority: Authority, spans: InMemorySpanExporter) -> None:
    revoke(authority, "first")
    (found,) = [span for span in spans.get_finished_spans() if span.name == "list.publish"]
    assert dict(found.attributes or {}) == {"loadlock.epoch": 1, "loadlock.seq": 1}


def test_a_failure_of_the_server_is_marked(authority: Authority, spans: InMemorySpanExporter) -> None:
    with Live(authority) as live:
        authority.layout.head.write_bytes(b"{}")
        assert live.ask("GET", "/readyz").status == 503
        until(spans.get_finished_spans)
    assert spans.get_finished_spans()[-1].status.status_code is StatusCode.ERROR


def test_without_the_library_nothing_is_missed() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from crl_server.operating import tracing\n"
        "with tracing.request_span({'method': 'GET', 'headers': []}) as a, tracing.span('x') as b:\n"
        "    a.end_request('GET', '/', 200); b.set('y', 1)\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
