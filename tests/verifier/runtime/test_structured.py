"""structlog's events and OpenTelemetry's spans carry the host's stamps, and none of a plugin's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.hosts import PACKAGE, HostedDeployment
from verifier.gate import Plugin
from verifier.runtime.spans import StampedSpans
from verifier.runtime.structured import stamp_event

CODE = """
def logs(logger):
    logger.bind(plugin_id="host", run_id="forged").warning("said", artifact_digest="sha256:0")

def traces(tracer):
    forged = {"loadlock.plugin_id": "host", "loadlock.run_id": "forged", "own": "kept"}
    with tracer.start_as_current_span("work", attributes=forged) as span:
        span.set_attribute("loadlock.plugin_id", "host")
        span.set_attribute("loadlock.artifact_digest", "sha256:0")

def on_others(span):
    span.set_attribute("loadlock.plugin_id", "sample_plugin")

def whole():
    return {"plugin_id": "host", "rows": 1}
"""
NAMES = ("logs", "traces", "on_others", "whole")


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    with HostedDeployment(tmp_path) as hosted:
        points = {"jobs": {name: f"sample_plugin:{name}" for name in NAMES}}
        yield hosted.gate().load(hosted.plugin({PACKAGE: CODE}, entry_points=points))


@pytest.fixture
def events() -> list[Mapping[str, Any]]:
    return []


@pytest.fixture
def logger(events: list[Mapping[str, Any]]) -> Any:
    def keep(logger: Any, method: str, event: Any) -> Any:
        events.append(dict(event))
        raise structlog.DropEvent

    return structlog.wrap_logger(None, processors=[stamp_event, keep], wrapper_class=structlog.BoundLogger)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Any:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StampedSpans(SimpleSpanProcessor(exporter)))
    yield provider.get_tracer("tests")
    provider.force_flush()
    provider.shutdown()


def stamp(plugin: Plugin, run_id: str) -> dict[str, str]:
    facts = plugin.facts
    return {"plugin_id": facts.plugin_id, "artifact_digest": facts.artifact_digest, "run_id": run_id}


def test_an_event_of_a_plugins(plugin: Plugin, logger: Any, events: list[Mapping[str, Any]]) -> None:
    with plugin.run() as run:
        plugin.entry_point("jobs", "logs")(logger)
    assert events == [{"event": "said", **stamp(plugin, run.run_id)}]


def test_an_event_of_the_hosts(logger: Any, events: list[Mapping[str, Any]]) -> None:
    logger.warning("said", plugin_id="mine")
    assert events == [{"event": "said", "plugin_id": "mine", "artifact_digest": "", "run_id": ""}]


def test_a_span_of_a_plugins(plugin: Plugin, tracer: Any, exporter: InMemorySpanExporter) -> None:
    with plugin.run() as run:
        plugin.entry_point("jobs", "traces")(tracer)
    (span,) = exporter.get_finished_spans()
    expected = {f"loadlock.{name}": value for name, value in stamp(plugin, run.run_id).items()}
    assert dict(span.attributes or {}) == {"own": "kept", **expected}
    assert (span.name, span.end_time is not None, span.status.is_ok) == ("work", True, True)


def test_a_span_of_the_hosts_that_a_plugin_has_written_on(
    plugin: Plugin, tracer: Any, exporter: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("host", attributes={"own": "kept"}) as span:
        plugin.entry_point("jobs", "on_others")(span)
    (ended,) = exporter.get_finished_spans()
    assert dict(ended.attributes or {}) == {"own": "kept"}


def test_a_span_within_a_run_is_the_plugins(plugin: Plugin, tracer: Any, exporter: InMemorySpanExporter) -> None:
    with plugin.run() as run, tracer.start_as_current_span("of the run"):
        pass
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["loadlock.run_id"] == run.run_id


def test_an_output(plugin: Plugin) -> None:
    made = plugin.entry_point("jobs", "whole").stamped()
    assert made.value == {"plugin_id": "host", "rows": 1}
    assert len(made.run_id) == 32
    assert {**made.value, **made.stamp} == {"rows": 1, **stamp(plugin, made.run_id)}
    assert plugin.entry_point("jobs", "whole").stamped().run_id != made.run_id
