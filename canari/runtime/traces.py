"""Traces (W3C Trace Context, OpenTelemetry): a span for each request that its caller samples, nothing for the others.

Where they go is told by OpenTelemetry's own variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from uuid import UUID

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from canari.runtime.plane import Outcome

EXPORT_SECONDS = 2.0
_PARENT = "traceparent"


class Traces:
    """Makes spans after the fact, so that a request without a sampled parent costs one look at its headers."""

    def __init__(self, model: str, version: int, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": f"canari-{model}", "service.version": str(version)})
        self._provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter or OTLPSpanExporter(timeout=EXPORT_SECONDS), export_timeout_millis=EXPORT_SECONDS * 1000
            )
        )
        self._tracer = self._provider.get_tracer("canari.runtime")
        self._propagator = TraceContextTextMapPropagator()

    def note(
        self, headers: Mapping[bytes, bytes], prediction: UUID, status: int, total_ms: float, outcome: Outcome | None
    ) -> None:
        """Tell of a request that has just been answered, if its caller samples it."""
        parent = headers.get(b"traceparent")
        if parent is None:
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            "predict",
            context=self._propagator.extract({_PARENT: parent.decode("latin-1")}),
            kind=SpanKind.SERVER,
            start_time=ended - int(total_ms * 1e6),
        )
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            span.set_attribute("canari.prediction_id", str(prediction))
            if outcome:
                span.set_attribute("canari.decode_ms", outcome.decode_ms)
                span.set_attribute("canari.inference_ms", outcome.inference_ms)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Send what is waiting, bounded in time."""
        self._provider.shutdown()
