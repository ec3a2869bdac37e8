"""A platform's figures for the dashboards' queries: what two models' metrics and tables hold while they are in use."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sqlalchemy import Engine, insert

from canari.family import find_family
from canari.observations import Metric
from canari.spec import Satisfaction, Triggers
from canari.store import tables as t
from canari.store import versions
from tests.conftest import ROOT

Labels = Mapping[str, str]
_OF = {"model": "drift", "version": "2"}
_OTHER = {"model": "cats_dogs", "version": "1"}
_CLIENTS = {"envoy_http_conn_manager_prefix": "http-10080"}
_SECONDS = ("0.1", "0.25", "0.5", "1", "+Inf")

# What grows: series by name, and how much of it a second.
GROWING: dict[str, list[tuple[Labels, float]]] = {
    "canari_requests_total": [
        *(
            ({**of, "kind": "arm", "status": status}, 5.0)
            for of in (_OF, _OTHER)
            for status in ("200", "422", "429", "503")
        ),
    ],
    "canari_recorder_lost_rows_total": [(_OF, 0.1)],
    "canari_http_requests_total": [({"service": "feedback", "route": "/x", "status": s}, 2.0) for s in ("200", "500")],
    "envoy_http_downstream_rq_xx": [({**_CLIENTS, "envoy_response_code_class": c}, 3.0) for c in "25"],
    "envoy_cluster_upstream_rq_retry": [({"envoy_cluster_name": "c"}, 0.1)],
    "envoy_cluster_upstream_rq_timeout": [({"envoy_cluster_name": "c"}, 0.1)],
    "envoy_cluster_upstream_cx_connect_fail": [({"envoy_cluster_name": "c"}, 0.1)],
}
HISTOGRAMS: dict[str, list[Labels]] = {
    "canari_request_seconds": [{**of, "kind": "arm", "status": "200"} for of in (_OF, _OTHER)],
    "canari_decode_seconds": [_OF],
    "canari_inference_seconds": [_OF],
    "canari_http_request_seconds": [{"service": "feedback", "route": "/x"}],
    "canari_controller_tick_seconds": [{}],
    "envoy_http_downstream_rq_time": [_CLIENTS],
}
_NAMES = [{"model": "drift"}, {"model": "cats_dogs"}]
_KINDS = [{"kind": kind} for kind in ("evaluate", "retrain", "retention")]
STANDING: dict[str, list[tuple[Labels, float]]] = {
    **{name: [(_OF, 0.5), (_OTHER, 0.9)] for name in ("canari_satisfaction_ratio", "canari_participation_ratio")},
    **{
        name: [(labels, 0.8) for labels in _NAMES]
        for name in (
            "canari_satisfaction_threshold",
            "canari_participation_threshold",
            "canari_accuracy_threshold",
            "canari_drift_threshold",
            "canari_latency_budget_seconds",
            "canari_new_samples",
            "canari_new_samples_threshold",
            "canari_inputs_waiting",
        )
    },
    "canari_accuracy_ratio": [({**_OF, "source": source}, 0.7) for source in ("held_out", "labels")],
    "canari_calibration_error": [(_OF, 0.04)],
    "canari_drift_share": [(_OF, 0.2)],
    "canari_traffic_weight": [(_OF, 20), (_OTHER, 100), ({**_OF, "version": "1"}, 80)],
    "canari_versions": [({"model": "drift", "state": state}, 1) for state in ("ready", "starting")],
    "canari_requests_in_flight": [(_OF, 3)],
    "canari_recorder_spool_bytes": [(_OF, 4096)],
    "canari_predictions_lost": [(_OF, 1)],
    "canari_database_up": [({}, 1)],
    "canari_controller_leader": [({}, 1)],
    "canari_rollout_open": [(_OF, 1)],
    "canari_rollout_step": [(_OF, 1)],
    "canari_rollout_held": [(_OF, 0)],
    "canari_rollout_deadline_timestamp_seconds": [(_OF, time.time() + 86400)],
    "canari_job_last_success_timestamp_seconds": [(labels, time.time() - 600) for labels in _KINDS],
    "canari_jobs": [({**labels, "state": state}, 0) for labels in _KINDS for state in ("queued", "running", "failed")],
    "canari_job_running_seconds": [({"kind": "retrain"}, 60)],
    "canari_inputs_overdue": [({}, 0)],
    "canari_erasures_open": [({}, 0)],
    "canari_volume_free_bytes": [({"volume": "data"}, 6e9)],
    "canari_volume_size_bytes": [({"volume": "data"}, 1e10)],
    "kubelet_volume_stats_available_bytes": [({"persistentvolumeclaim": "archives"}, 6e9)],
    "kubelet_volume_stats_capacity_bytes": [({"persistentvolumeclaim": "archives"}, 1e10)],
    "envoy_listener_ssl_certificate_expiration_unix_time_seconds": [
        ({"envoy_tls_certificate": "c"}, time.time() + 1e7)
    ],
}


def exposition(seconds: float) -> str:
    """Prometheus' text format, so many seconds after the start."""
    return "".join(f"{line}\n" for line in _lines(seconds))


def _lines(seconds: float) -> Iterator[str]:
    for name, standing in STANDING.items():
        yield f"# TYPE {name} gauge"
        for labels, value in standing:
            yield f"{name}{_written(labels)} {value}"
    for name, growing in GROWING.items():
        yield f"# TYPE {name} counter"
        for labels, rate in growing:
            yield f"{name}{_written(labels)} {rate * seconds}"
    for name, histograms in HISTOGRAMS.items():
        yield f"# TYPE {name} histogram"
        for labels in histograms:
            for place, bound in enumerate(_SECONDS):
                yield f"{name}_bucket{_written({**labels, 'le': bound})} {(place + 1) * seconds}"
            yield f"{name}_count{_written(labels)} {len(_SECONDS) * seconds}"
            yield f"{name}_sum{_written(labels)} {seconds}"


def _written(labels: Labels) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


class Exporter(ThreadingHTTPServer):
    """Tells these figures at any path, of which some grow from its start on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.began = time.monotonic()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        body = exposition(time.monotonic() - self.server.began).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
        """A scrape is not worth a line."""


def fill(engine: Engine) -> int:
    """Rows in every table that dashboards read; returns the open rollout's number."""
    now = datetime.now(UTC)
    spec = find_family(ROOT / "bentos", "drift").spec
    satisfaction = Satisfaction(below=0.8, participation=0.1)
    spec = spec.model_copy(update={"triggers": Triggers(satisfaction=satisfaction, accuracy_below=0.7)})
    versions.put_spec(engine, spec)
    hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    with engine.begin() as connection:

        def put(table: Any, *rows: Mapping[str, Any]) -> Any:
            return connection.execute(insert(table).returning(*table.primary_key.columns), list(rows)).scalars().all()

        about = {"model": "drift", "state": "ready", "spec_hash": spec.hash, "metrics": {"accuracy": 0.9}}
        put(t.versions, {**about, "number": 1}, {**about, "number": 2})
        [rollout] = put(
            t.rollouts,
            {"model": "drift", "stable": 1, "canary": 2, "step": 1, "weight": 20, "state": "open", "mode": "judged"},
        )
        decision = {"weight": 20, "reason": "enough votes", "actor": "the judge", "code_version": "1"}
        put(t.decisions, {**decision, "rollout": rollout, "action": "advance", "spec_hash": spec.hash})
        tick = int(now.timestamp() * 1000) - 60_000
        put(
            t.evidence,
            *(
                {"rollout": rollout, "tick": tick + at, "step": 1, "version": v, "metric": metric, "n": 9, "bad": 1}
                for at in (0, 30_000)
                for v in (1, 2)
                for metric in Metric
            ),
        )
        fault = {"kind": "silent", "sentence": "a proxy does not answer"}
        put(t.evidence_faults, {**fault, "rollout": rollout, "tick": tick, "place": 0})
        put(t.judge_state, {"rollout": rollout, "state": {}, "judgement": {"verdict": "hold"}})
        counts = {"predictions": 50, "voted": 20, "satisfied": 10, "labelled": 8, "correct": 6, "answers": {"left": 30}}
        put(
            t.evaluations,
            {"model": "drift", "version": 2, "since": hour, "until": now, "refused": 0, "lost": 0, **counts},
        )
        put(t.hours, {"model": "drift", "version": 2, "hour": hour, "latency_ms": 500, "score": 40, **counts})
        about = {"kind": "retrain", "model": "drift", "key": "k", "state": "done", "asked_by": "people"}
        put(t.jobs, {**about, "reason": "by hand", "started_at": now, "ended_at": now})
    return int(rollout)
