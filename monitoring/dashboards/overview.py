"""How every model does, on one page."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards import parts
from monitoring.dashboards.parts import BYTES, COUNT, GOOD_WHEN_ZERO, RATE, SECONDS, SHARE, Prom, Sql, Steps

_SEEN = 'model=~"$model", kind!="shadow"'
_REQUESTS = f"sum by (model) (rate(canari_requests_total{{{_SEEN}}}[$__rate_interval]))"
# Zero where there has been no error: a series of errors begins with the first.
_FAILED = f'sum by (model) (rate(canari_requests_total{{{_SEEN}, status=~"5.."}}[$__rate_interval]))'
_ERRORS = f"({_FAILED} or 0 * {_REQUESTS}) / ({_REQUESTS} > 0)"
_SECONDS_OF = f"sum by (le, model) (rate(canari_request_seconds_bucket{{{_SEEN}}}[$__rate_interval]))"
_LINK = {
    "links": [
        {"title": "This model · Ce modèle", "url": "/d/canari-model?${__url_time_range}&var-model=${__value.text}"}
    ]
}
_COLUMNS: dict[str, dict[str, Any]] = {
    "model": _LINK,
    "Value #A": {"displayName": "Satisfaction", "unit": SHARE, "decimals": 0},
    "Value #B": {"displayName": "Participation", "unit": SHARE, "decimals": 1},
    "Value #C": {"displayName": "Accuracy · Exactitude", "unit": SHARE, "decimals": 0},
    "Value #D": {"displayName": "Drift · Dérive", "unit": SHARE, "decimals": 0},
    "Value #E": {"displayName": "Traffic · Trafic", "unit": "percent"},
}


def dashboard() -> Dashboard:
    """The first page: what fires, how the models do, what moved the traffic."""
    return parts.board(
        "overview",
        "Canari: overview · vue d'ensemble",
        "How every model does, what users say of it, and what moved the traffic.",
        [parts.series_values("model", "Model · Modèle", "canari_traffic_weight", several=True)],
        [
            (4, [*_NUMBERS]),
            (8, [(10, _ALERTS), (14, _MODELS)]),
            (8, [(8, _REQUESTS_CURVE), (8, _ERRORS_CURVE), (8, _LATENCY_CURVE)]),
            (8, [(8, _SATISFACTION_CURVE), (8, _WEIGHT_CURVE), (8, _STATES_CURVE)]),
            (9, [(24, _DECISIONS)]),
        ],
    )


def _number(title: str, description: str, expr: str, unit: str = COUNT, steps: Steps = parts.PLAIN) -> parts.Panel:
    return parts.number(title, description, Prom(expr), unit=unit, steps=steps)


_NUMBERS = [
    (
        4,
        _number(
            "Alerts · Alertes",
            "Alerts that fire now.",
            'count(ALERTS{alertstate="firing", alertname=~"Canari.*"}) or vector(0)',
            steps=GOOD_WHEN_ZERO,
        ),
    ),
    (
        4,
        _number(
            "Database · Base",
            "1 while PostgreSQL answers the feedback API.",
            "min(max by (namespace) (canari_database_up))",
            steps=Steps("red", {1: "green"}),
        ),
    ),
    (
        4,
        _number(
            "Not ready · Pas prêtes",
            "Versions that are to have traffic, and do not answer.",
            'sum(max by (model, state) (canari_versions{state!="ready"})) or vector(0)',
            steps=GOOD_WHEN_ZERO,
        ),
    ),
    (
        4,
        _number(
            "Requests · Requêtes",
            "Answers per second, mirrored ones left out.",
            'sum(rate(canari_requests_total{kind!="shadow"}[$__rate_interval]))',
            RATE,
        ),
    ),
    (
        4,
        _number(
            "Trials · Essais",
            "Versions on trial.",
            "count(max by (model, version) (canari_rollout_open) == 1) or vector(0)",
        ),
    ),
    (
        4,
        _number(
            "Waiting · En attente",
            "Predictions that were recorded and have not reached the feedback API.",
            "sum(canari_recorder_spool_bytes)",
            BYTES,
            Steps("green", {1048576: "red"}),
        ),
    ),
]
_ALERTS = parts.rows(
    "What fires · Ce qui sonne",
    "Each alert has a runbook: docs/runbooks.",
    Prom('max by (alertname, severity, model, version) (ALERTS{alertstate="firing", alertname=~"Canari.*"})'),
    hidden=["Time", "Value"],
)
_MODELS = parts.rows(
    "Models · Modèles",
    "Satisfaction and participation of the last 24 hours; accuracy and drift as they were evaluated last.",
    Prom('max by (model, version) (canari_satisfaction_ratio{model=~"$model"})'),
    Prom('max by (model, version) (canari_participation_ratio{model=~"$model"})'),
    Prom('max by (model, version) (canari_accuracy_ratio{model=~"$model", source="held_out"})'),
    Prom('max by (model, version) (canari_drift_share{model=~"$model"})'),
    Prom('max by (model, version) (canari_traffic_weight{model=~"$model"})'),
    columns=_COLUMNS,
    hidden=["Time"],
)
_REQUESTS_CURVE = parts.curves(
    "Requests · Requêtes", "Answers per second, mirrored ones left out.", Prom(_REQUESTS, "{{model}}"), unit=RATE
)
_ERRORS_CURVE = parts.curves(
    "Errors · Erreurs", "Share of the answers with a status of 500 and above.", Prom(_ERRORS, "{{model}}"), unit=SHARE
)
_LATENCY_CURVE = parts.curves(
    "Time to answer (p95) · Temps de réponse",
    "95 of 100 answers are quicker. Dashed: the latency budget of the specification.",
    Prom(
        f"histogram_quantile(0.95, {_SECONDS_OF})",
        "{{model}}",
    ),
    Prom('max by (model) (canari_latency_budget_seconds{model=~"$model"})', f"{{{{model}}}}: {parts.THRESHOLD}"),
    unit=SECONDS,
)
_SATISFACTION_CURVE = parts.curves(
    "Satisfaction",
    "Share of the last 24 hours' votes that say right. Dashed: where users count as unhappy.",
    Prom('max by (model, version) (canari_satisfaction_ratio{model=~"$model"})', "{{model}} v{{version}}"),
    Prom('max by (model) (canari_satisfaction_threshold{model=~"$model"})', f"{{{{model}}}}: {parts.THRESHOLD}"),
    unit=SHARE,
    most=1,
)
_WEIGHT_CURVE = parts.curves(
    "Traffic · Trafic",
    "Percent that the controller wants each version to have.",
    Prom('max by (model, version) (canari_traffic_weight{model=~"$model"})', "{{model}} v{{version}}"),
    unit="percent",
    most=100,
)
_STATES_CURVE = parts.curves(
    "Versions by state · par état",
    "Versions that are wanted: ready ones answer.",
    Prom('max by (model, state) (canari_versions{model=~"$model"})', "{{model}}: {{state}}"),
)
_DECISIONS = parts.rows(
    "Decisions · Décisions",
    "What moved the traffic, newest first.",
    Sql("""
        SELECT d.created_at, r.model, r.canary AS version, d.action, d.weight, d.reason, d.actor
        FROM decisions d JOIN rollouts r ON r.id = d.rollout
        WHERE $__timeFilter(d.created_at) AND r.model IN (${model:sqlstring})
        ORDER BY d.id DESC LIMIT 100
    """),
    columns={"reason": {"custom.width": 640}, "weight": {"unit": "percent"}},
)
