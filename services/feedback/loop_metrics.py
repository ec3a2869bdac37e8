"""What Prometheus learns of the loop: how users and evaluations judge live versions, and how the jobs stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.spec import ModelSpec
from canari.store import evaluations, hours, rollouts, samples, standing, versions
from canari.store.evaluations import LiveEvaluation
from canari.store.hours import Summary
from canari.store.standing import Standing
from services.feedback.context import Cached

_SECONDS, _SHARE = 15.0, 0.05
_MODEL, _VERSION = ("model",), ("model", "version")
_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "canari_satisfaction_ratio": ("Share of the last day's votes that say right.", _VERSION),
    "canari_participation_ratio": ("Votes per answer in the last day.", _VERSION),
    "canari_votes": ("Answers of the last day that have a vote.", _VERSION),
    "canari_labels": ("Late labels that the newest evaluation saw.", _VERSION),
    "canari_latency_budget_seconds": ("The time that an answer may take.", _MODEL),
    "canari_accuracy_ratio": ("Share right, as last evaluated.", (*_VERSION, "source")),
    "canari_accuracy_threshold": ("The accuracy that is asked for.", _MODEL),
    "canari_satisfaction_threshold": ("The satisfaction under which users count as unhappy.", _MODEL),
    "canari_participation_threshold": ("The participation that this takes.", _MODEL),
    "canari_calibration_error": ("Expected calibration error on late labels.", _VERSION),
    "canari_drift_share": ("Share of the inputs' measures that moved.", _VERSION),
    "canari_drift_threshold": ("The share that is too much.", _MODEL),
    "canari_new_samples": ("The team's samples that the stable version was not made of.", _MODEL),
    "canari_new_samples_threshold": ("How many of them have it trained again.", _MODEL),
    "canari_job_last_success_timestamp_seconds": ("When a job last ended well.", ("kind",)),
    "canari_jobs": ("Jobs by where they stand; failed ones within the last day.", ("kind", "state")),
    "canari_job_running_seconds": ("For how long the oldest running job has run.", ("kind",)),
    "canari_inputs_waiting": ("Users' inputs that nobody has looked at yet.", _MODEL),
    "canari_inputs_overdue": ("Users' inputs that ought to be gone for more than a day.", ()),
    "canari_erasures_open": ("Erasures that were asked for and are not done.", ()),
}
_Figure = tuple[str, tuple[str, ...], float | None]


class LoopCollector(Collector):
    """Gauges read from the store when Prometheus asks, at most every fifteen seconds; none while the store is away."""

    def __init__(self, engine: Engine) -> None:
        self._figures = Cached(lambda: _read(engine), _SECONDS, _SHARE)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge, without what is not known."""
        found = {name: GaugeMetricFamily(name, told, labels=labels) for name, (told, labels) in _GAUGES.items()}
        try:
            for name, labels, value in self._figures.get():
                found[name].add_metric(labels, value)
        except SQLAlchemyError:
            # canari_database_up tells.
            return
        yield from found.values()


def _read(engine: Engine) -> Sequence[tuple[str, tuple[str, ...], float]]:
    return [(name, labels, float(value)) for name, labels, value in _figures(engine) if value is not None]


def _figures(engine: Engine) -> Iterator[_Figure]:
    wanted = rollouts.desired(engine)
    said = hours.summaries(engine, datetime.now(UTC))
    newest = evaluations.latest(engine)
    for model, spec in versions.live_specs(engine).items():
        yield from _thresholds(model, spec)
        live = wanted[model].versions if model in wanted else []
        for number in live:
            summary = next((one for one in said.get(model, []) if one.version == number), None)
            yield from _of_version((model, str(number)), summary, newest.get((model, number)))
        if live:
            yield "canari_new_samples", (model,), samples.new(engine, model)[0]
    yield from _of_loop(standing.read(engine), wanted)


def _thresholds(model: str, spec: ModelSpec) -> Iterator[_Figure]:
    triggers, unhappy, latency = spec.triggers, spec.triggers.satisfaction, spec.canary.metrics.latency
    yield "canari_accuracy_threshold", (model,), spec.least_accuracy
    yield "canari_satisfaction_threshold", (model,), unhappy.below if unhappy else None
    yield "canari_participation_threshold", (model,), unhappy.participation if unhappy else None
    yield "canari_latency_budget_seconds", (model,), latency.budget.total_seconds() if latency else None
    yield "canari_drift_threshold", (model,), triggers.drift
    yield "canari_new_samples_threshold", (model,), triggers.new_samples


def _of_version(labels: tuple[str, ...], summary: Summary | None, found: LiveEvaluation | None) -> Iterator[_Figure]:
    if summary is not None:
        yield "canari_satisfaction_ratio", labels, summary.satisfaction
        yield "canari_participation_ratio", labels, summary.participation
        yield "canari_votes", labels, summary.n
    if found is not None:
        yield "canari_accuracy_ratio", (*labels, "held_out"), (found.held_out or {}).get("accuracy")
        yield "canari_accuracy_ratio", (*labels, "labels"), found.accuracy
        yield "canari_labels", labels, found.labelled
        yield "canari_calibration_error", labels, found.calibration_error
        yield "canari_drift_share", labels, found.drift["share"] if found.drift else None


def _of_loop(found: Standing, models: Mapping[str, object]) -> Iterator[_Figure]:
    for kind, jobs in found.jobs.items():
        yield "canari_job_last_success_timestamp_seconds", (kind,), jobs.succeeded_at
        yield "canari_job_running_seconds", (kind,), jobs.seconds
        for state in ("queued", "running", "failed"):
            yield "canari_jobs", (kind, state), getattr(jobs, state)
    for model in models:
        yield "canari_inputs_waiting", (model,), found.waiting.get(model, 0)
    yield "canari_inputs_overdue", (), found.overdue
    yield "canari_erasures_open", (), found.erasures
