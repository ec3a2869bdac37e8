"""How the cluster's controller does, over HTTP: /healthz and /readyz for Kubernetes, /metrics for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from canari.types import Rollout, RolloutMode
from services.controller.loop import Observed
from services.controller.projection import barred

_STUCK_SECONDS = 120.0
_VERSION = ("model", "version")
_TICK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Health:
    """What the loop says of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_models: list[Gauge] = []
        self._beat_at = time.monotonic()
        self._trouble: str | None = "starting"
        self._ticks = Counter("canari_controller_ticks", "Rounds of the loop.", ("outcome",), registry=self.registry)
        self._seconds = Histogram(
            "canari_controller_tick_seconds", "How long a round takes.", buckets=_TICK_BUCKETS, registry=self.registry
        )
        self._success = self._gauge("canari_controller_last_success_timestamp_seconds", "When a round last succeeded.")
        self._leader = self._gauge("canari_controller_leader", "1 where this process acts, 0 where it stands by.")
        self._versions = self._gauge("canari_versions", "Versions, by where they stand.", "model", "state")
        self._weights = self._gauge("canari_traffic_weight", "Percent of the traffic wanted.", *_VERSION)
        self._open = self._gauge("canari_rollout_open", "1 for a version that is on trial.", *_VERSION)
        self._step = self._gauge("canari_rollout_step", "The step its rollout is at, counted from 0.", *_VERSION)
        self._held = self._gauge(
            "canari_rollout_held", "1 while something keeps it from going on, but for people who paused it.", *_VERSION
        )
        self._step_started = self._gauge(
            "canari_rollout_step_started_timestamp_seconds", "When the step began.", *_VERSION
        )
        self._deadline = self._gauge(
            "canari_rollout_deadline_timestamp_seconds", "When a verdict is due; none while it is paused.", *_VERSION
        )

    def beat(self, *, leader: bool) -> None:
        """The loop goes round, whether it acts or not."""
        self._beat_at = time.monotonic()
        self._leader.set(leader)

    def succeeded(self, seconds: float, observed: Sequence[Observed]) -> None:
        """A round has ended well."""
        self._trouble = None
        self._ticks.labels("success").inc()
        self._seconds.observe(seconds)
        self._success.set_to_current_time()
        self._forget()
        for seen in observed:
            for state in seen.states.values():
                self._versions.labels(seen.model, state.name.lower()).inc()
            for version, weight in _weights(seen).items():
                self._weights.labels(seen.model, str(version)).set(weight)
            if seen.rollout is not None and seen.rollout.mode is RolloutMode.JUDGED:
                self._tell(seen.rollout, held=barred(seen))

    def failed(self, trouble: str) -> None:
        """A round has failed."""
        self._trouble = trouble
        self._ticks.labels("failure").inc()

    def stands_by(self, trouble: str | None) -> None:
        """Another controller acts; `trouble` where this one could not take over."""
        self._trouble = trouble
        self._forget()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        if path == "/healthz":
            idle = time.monotonic() - self._beat_at
            trouble = f"no round has ended for {idle:.0f} s" if idle > _STUCK_SECONDS else None
        elif path == "/readyz":
            trouble = self._trouble
        else:
            return 404, "text/plain; charset=utf-8", b"there are /healthz, /readyz and /metrics\n"
        return (503 if trouble else 200), "text/plain; charset=utf-8", f"{trouble or 'ok'}\n".encode()

    @contextmanager
    def served(self, port: int) -> Iterator[int]:
        """Answer on `port` of every address (0: a free one, which is told)."""
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, media_type, body = health.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
                """Probes are not worth a line each."""

        server = ThreadingHTTPServer(("", port), Handler)
        Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            server.server_close()

    def _tell(self, rollout: Rollout, *, held: bool) -> None:
        version = (rollout.model, str(rollout.canary))
        self._open.labels(*version).set(1)
        self._step.labels(*version).set(rollout.step)
        self._held.labels(*version).set(held)
        if rollout.step_started_at is not None:
            self._step_started.labels(*version).set(rollout.step_started_at.timestamp())
        if rollout.deadline_at is not None and rollout.paused_at is None:
            self._deadline.labels(*version).set(rollout.deadline_at.timestamp())

    def _forget(self) -> None:
        for gauge in self._of_models:
            gauge.clear()

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        gauge = Gauge(name, text, labels, registry=self.registry)
        if labels:
            self._of_models.append(gauge)
        return gauge


def _weights(seen: Observed) -> dict[int, int]:
    weights = {} if seen.stable is None else {seen.stable: 100}
    if seen.rollout is not None:
        weights = {} if seen.rollout.stable is None else {seen.rollout.stable: 100 - seen.rollout.weight}
        weights[seen.rollout.canary] = seen.rollout.weight
    return weights
