"""Spans of OpenTelemetry, where it is installed and set up by whoever runs the process; otherwise nothing.

Spans are named after the route or the work. They carry no header, no query and no body.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

NAME = "loadlock"
NOT_FASTAPIS: Any = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip
"""Newer releases of FastAPI make spans of their own, with queries and the messages of exceptions: none of them here."""


class Span(Protocol):
    """A span that work writes into."""

    def set(self, name: str, value: str | int | bool) -> None:
        """Set an attribute."""

    def end_request(self, method: str, route: str, status: int) -> None:
        """Say how a request ended."""


class _NoSpan:
    """Where OpenTelemetry is not installed."""

    def set(self, name: str, value: str | int | bool) -> None:
        """Nothing."""

    def end_request(self, method: str, route: str, status: int) -> None:
        """Nothing."""


class _Span:
    """A span of OpenTelemetry."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, name: str, value: str | int | bool) -> None:
        self._span.set_attribute(name, value)

    def end_request(self, method: str, route: str, status: int) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


_NOTHING = _NoSpan()


@contextmanager
def span(name: str) -> Iterator[Span]:
    """A span around work of the service's own, below whatever span is current."""
    tracer = _tracer()
    if tracer is None:
        yield _NOTHING
        return
    with tracer.start_as_current_span(name) as found:
        yield _Span(found)


@contextmanager
def request_span(scope: MutableMapping[str, Any]) -> Iterator[Span]:
    """A span around a request, below the one that its ``traceparent`` names (W3C Trace Context)."""
    tracer = _tracer()
    if tracer is None:
        yield _NOTHING
        return
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    carried = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
    with tracer.start_as_current_span(str(scope["method"]), extract(carried), SpanKind.SERVER) as found:
        yield _Span(found)


def wanted() -> bool:
    """Whether anybody keeps spans."""
    return _tracer() is not None


def _tracer() -> Any:
    """Who makes spans; None while nobody has set anything up that would keep them, so that nothing is spent on it."""
    trace = _library()
    if trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return trace.get_tracer(NAME)


@cache
def _library() -> Any:
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        return None
    return trace
