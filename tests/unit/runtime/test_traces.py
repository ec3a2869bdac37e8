"""Spans, as OpenTelemetry's own exporter sends them to a collector over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from canari.runtime.config import read_config
from canari.runtime.traces import Traces
from tests.unit.runtime.kit import Client, build_app, photo, row_spec

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "content-type": "image/jpeg"}
UNSAMPLED = {**SAMPLED, "traceparent": f"00-{TRACE}-{PARENT}-00"}


class Collector(HTTPServer):
    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    attributes = {a.key: a.value.string_value for a in group.resource.attributes}
                    collector.services.add(f"{attributes['service.name']} {attributes['service.version']}")
                    collector.spans += [span for scope in group.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def exporting_to(collector: Collector) -> Traces:
    return Traces("colours", 3, OTLPSpanExporter(f"http://127.0.0.1:{collector.server_port}/v1/traces", timeout=2))


def test_a_sampled_request_is_a_span_of_its_callers_trace_and_others_are_none(
    tmp_path: Path, collector: Collector
) -> None:
    traces = exporting_to(collector)
    client = Client(build_app(tmp_path, traces=traces))
    answer = client.post("/api/colours/predict", photo(), headers=SAMPLED)
    for headers in (UNSAMPLED, {"content-type": "image/jpeg"}, {**SAMPLED, "traceparent": "nonsense"}):
        assert client.post("/api/colours/predict", photo(), headers=headers).status_code == 200
    traces.close()
    (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.name) == (TRACE, PARENT, "predict")
    attributes = {a.key: a.value for a in span.attributes}
    assert attributes["canari.prediction_id"].string_value == answer.json()["prediction_id"]
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["canari.inference_ms"].double_value > 0
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert collector.services == {"canari-colours 3"}


def test_a_failed_request_is_told_as_an_error(tmp_path: Path, collector: Collector) -> None:
    def fail(*_: object) -> Any:
        raise ValueError

    traces = exporting_to(collector)
    client = Client(build_app(tmp_path, decode=fail, traces=traces))
    assert client.post("/api/colours/predict", photo(), headers=SAMPLED).status_code == 500
    traces.close()
    (span,) = collector.spans
    assert span.status.code == 2


def test_spans_are_sent_where_opentelemetrys_own_variable_says(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(row_spec().model_dump_json())
    assert not read_config(tmp_path, {}).traces
    assert read_config(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}).traces
