"""Prometheus metrics of a serving process; right with several worker processes too.

With ``PROMETHEUS_MULTIPROC_DIR`` set (`bentoml serve` sets it) each process keeps its figures in files there, and any
of them answers for all.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STAGE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """One process's metrics, each with the labels `model` and `version`."""

    def __init__(self, model: str, version: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        _forget_dead_processes()
        own = ("model", "version")
        each = (*own, "status", "kind")
        self._registry = CollectorRegistry()
        self._own = (model, str(version))
        self._requests = Counter("canari_requests", "Requests answered.", each, registry=self._registry)
        self._latency = Histogram(
            "canari_request_seconds", "From arrival to answer.", each, buckets=_LATENCY, registry=self._registry
        )
        self._decode = self._stage("canari_decode_seconds", "Decoding one request's inputs.")
        self._inference = self._stage("canari_inference_seconds", "Running the model on one request.")
        self.in_flight = self._gauge("canari_requests_in_flight", "Requests held now.")
        self._spool = self._gauge("canari_recorder_spool_bytes", "Recorded, not yet shipped.")
        lost = Counter("canari_recorder_lost_rows", "Rows never shipped.", own, registry=self._registry)
        self._lost = lost.labels(*self._own)
        lost_inputs = Counter("canari_inputs_lost", "Inputs to be kept, never shipped.", own, registry=self._registry)
        self._lost_inputs = lost_inputs.labels(*self._own)

    def answered(self, status: int, kind: str, seconds: float) -> None:
        """Count an answer."""
        labels = (*self._own, str(status), kind)
        self._requests.labels(*labels).inc()
        self._latency.labels(*labels).observe(seconds)

    def predicted(self, decode_seconds: float, inference_seconds: float) -> None:
        """Note what a prediction's stages took."""
        self._decode.observe(decode_seconds)
        self._inference.observe(inference_seconds)

    def set_spool_bytes(self, count: int) -> None:
        """Show how much waits in the recorder's spool."""
        self._spool.set(count)

    def add_lost(self, count: int) -> None:
        """Count rows that will never reach the platform."""
        self._lost.inc(count)

    def add_lost_inputs(self, count: int) -> None:
        """Count inputs that will never reach the platform."""
        self._lost_inputs.inc(count)

    def expose(self) -> bytes:
        """The text exposition: of this process, or of all processes in multiprocess mode."""
        if _MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _stage(self, name: str, help_text: str) -> Histogram:
        histogram = Histogram(name, help_text, ("model", "version"), buckets=_STAGE, registry=self._registry)
        return histogram.labels(*self._own)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        gauge = Gauge(name, help_text, ("model", "version"), registry=self._registry, multiprocess_mode="livesum")
        return gauge.labels(*self._own)


def _forget_dead_processes() -> None:
    # A killed process leaves its gauges behind, and they would be summed for ever.
    folder = os.environ.get(_MULTIPROCESS)
    if not folder:
        return
    for process in {path.stem.rpartition("_")[2] for path in Path(folder).glob("gauge_live*.db")}:
        if not Path("/proc", process).exists():
            with contextlib.suppress(FileNotFoundError):
                multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]
