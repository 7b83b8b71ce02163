"""OpenTelemetry's spans say which plugin started them, in which run. Needs the extra ``otel``.

    provider = TracerProvider()
    provider.add_span_processor(StampedSpans(BatchSpanProcessor(exporter)))

Spans carry ``loadlock.plugin_id``, ``loadlock.artifact_digest`` and ``loadlock.run_id``. They are said again when a
span ends, just before it is handed on: what a plugin has set under these names, on its own spans or on others', is
discarded.
"""

from __future__ import annotations

import os
import threading

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.util.types import AttributeValue

from verifier.runtime.attribution import Attribution, attribute

PREFIX = "loadlock."
_NAMES = frozenset(PREFIX + name for name in Attribution._fields)


class StampedSpans(SpanProcessor):
    """Stamps each span, and hands it on.

    Args:
        following: the processor that exports.
    """

    def __init__(self, following: SpanProcessor) -> None:
        self._following = following
        self._lock = threading.Lock()
        self._started: dict[tuple[int, int], Attribution] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember whose span it is, and say so at once, for samplers and for who looks at it while it lasts."""
        found = attribute()
        if found is not None:
            with self._lock:
                self._started[_key(span)] = found
            span.set_attributes(_stamp(found))
        self._following.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Hand on a copy that says whose span it is, and nothing else of that kind."""
        with self._lock:
            found = self._started.pop(_key(span), None)
        attributes: dict[str, AttributeValue] = {
            name: value for name, value in (span.attributes or {}).items() if name not in _NAMES
        }
        if found is not None:
            attributes |= _stamp(found)
        self._following.on_end(
            ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=span.resource,
                attributes=attributes,
                events=span.events,
                links=span.links,
                kind=span.kind,
                instrumentation_scope=span.instrumentation_scope,
                status=span.status,
                start_time=span.start_time,
                end_time=span.end_time,
            )
        )

    def shutdown(self) -> None:
        """Let the exporting processor end."""
        self._following.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Let the exporting processor hand out what it holds."""
        return self._following.force_flush(timeout_millis)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


def _key(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    return (0, 0) if context is None else (context.trace_id, context.span_id)


def _stamp(found: Attribution) -> dict[str, AttributeValue]:
    return {PREFIX + name: value for name, value in found._asdict().items()}
