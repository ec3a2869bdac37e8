"""One rollout: the evidence of its versions, what was made of it, and what keeps it."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from canari.observations import Metric
from monitoring.dashboards import parts
from monitoring.dashboards.parts import COUNT, SHARE, Prom, Sql

_LOOKS = """
    rollout = ${rollout:sqlstring}::integer
    AND tick BETWEEN $__unixEpochFrom() * 1000::bigint AND $__unixEpochTo() * 1000::bigint
"""


def dashboard() -> Dashboard:
    """One rollout's page."""
    return parts.board(
        "canary",
        "Canari: canary · déploiement progressif",
        "One version on trial: its share of the traffic, the evidence for and against it, and every decision.",
        [
            parts.column_values("model", "Model · Modèle", "SELECT name FROM models ORDER BY name", several=False),
            parts.column_values("rollout", "Rollout · Essai", _ROLLOUTS, several=False),
        ],
        [
            (4, [(9, _said()), (5, _weight()), (5, _step()), (5, _time_left())]),
            (8, [(12, _weights()), (12, _held())]),
            "Evidence, added up over the range · Indices cumulés",
            (8, [(8, _bad(metric)) for metric in (Metric.ERRORS, Metric.LATENCY, Metric.THROTTLED)]),
            (8, [(8, _bad(Metric.SATISFACTION)), (8, _bad(Metric.ACCURACY)), (8, _amount())]),
            (9, [(14, _decisions()), (10, _faults())]),
        ],
    )


_BAD = {
    Metric.ERRORS: ("Errors · Erreurs", "Share of the answers of status 500 and above, as the gateway saw them."),
    Metric.LATENCY: ("Slow · Lentes", "Share of the answers over the latency budget."),
    Metric.THROTTLED: ("Refused (429) · Refusées", "Share of the requests that found a version full."),
    Metric.SATISFACTION: ("Wrong, by vote · Fausses, selon les votes", "Share of the votes that say wrong."),
    Metric.ACCURACY: ("Wrong, by label · Fausses, selon les labels", "Share of the late labels that differ."),
}
_ROLLOUTS = """
    SELECT id::text AS __value, '#' || id || ': v' || canary || ', ' || to_char(created_at, 'YYYY-MM-DD') AS __text
    FROM rollouts WHERE model = ${model:sqlstring} ORDER BY id DESC LIMIT 100
"""


def _said() -> parts.Panel:
    return parts.rows(
        "Judgement · Jugement",
        "What is on trial against what, and where it stands.",
        Sql("""
            SELECT 'v' || canary || coalesce(' / v' || stable, '') AS versions, r.state, mode,
                   coalesce(j.judgement ->> 'verdict', '–') AS verdict, r.created_at AS since
            FROM rollouts r LEFT JOIN judge_state j ON j.rollout = r.id WHERE r.id = ${rollout:sqlstring}::integer
        """),
    )


def _of_model(metric: str) -> str:
    return f'max({metric}{{model="$model"}})'


def _of_versions(metric: str) -> str:
    return f'max by (version) ({metric}{{model="$model"}})'


def _weight() -> parts.Panel:
    return parts.number(
        "Traffic share · Part",
        "Percent that the version on trial is to have; none where nothing is on trial.",
        Prom(f"max({_of_versions('canari_traffic_weight')} * {_of_versions('canari_rollout_open')})"),
        unit="percent",
    )


def _step() -> parts.Panel:
    return parts.number(
        "Step · Étape", "The step that the open rollout is at, counted from 0.", Prom(_of_model("canari_rollout_step"))
    )


def _time_left() -> parts.Panel:
    return parts.number(
        "Time left · Temps restant",
        "Until the open rollout's deadline; a paused one has none.",
        Prom(f"{_of_model('canari_rollout_deadline_timestamp_seconds')} - time()"),
        unit="s",
        steps=parts.Steps("red", {0: "orange", 86400: "green"}),
    )


def _weights() -> parts.Panel:
    return parts.curves(
        "Traffic · Trafic",
        "Percent that the controller wants each version to have.",
        Prom(_of_versions("canari_traffic_weight"), "v{{version}}"),
        unit="percent",
        most=100,
    )


def _held() -> parts.Panel:
    return parts.states(
        "Kept from going on · Retenu",
        "Red while something keeps the rollout from going on: proxies that do not answer, a version that is not ready.",
        Prom(_of_versions("canari_rollout_held"), "v{{version}}"),
        mapped={0: ("goes on · avance", "green"), 1: ("held · retenu", "red")},
    )


def _bad(metric: Metric) -> parts.Panel:
    title, description = _BAD[metric]
    return parts.curves(
        title,
        description,
        Sql(f"""
            SELECT to_timestamp(max(tick) / 1000.0) AS "time", 'v' || version AS metric,
                   sum(sum(bad)) OVER so_far / nullif(sum(sum(n)) OVER so_far, 0)::float8 AS value
            FROM evidence WHERE {_LOOKS} AND metric = '{metric}'
            GROUP BY version, tick / $__interval_ms
            WINDOW so_far AS (PARTITION BY version ORDER BY tick / $__interval_ms)
            ORDER BY 1
        """),
        unit=SHARE,
    )


def _amount() -> parts.Panel:
    return parts.curves(
        "How much evidence · Volume",
        "Requests, votes and labels that were looked at, by version.",
        Sql(f"""
            SELECT to_timestamp(max(tick) / 1000.0) AS "time", 'v' || version || ' ' || metric AS metric,
                   sum(sum(n)) OVER so_far AS value
            FROM evidence WHERE {_LOOKS} AND metric IN ('errors', 'satisfaction', 'accuracy')
            GROUP BY version, metric, tick / $__interval_ms
            WINDOW so_far AS (PARTITION BY version, metric ORDER BY tick / $__interval_ms)
            ORDER BY 1
        """),
        unit=COUNT,
    )


def _decisions() -> parts.Panel:
    return parts.rows(
        "Decisions · Décisions",
        "Everything that was decided on this rollout, newest first, by whom and why.",
        Sql("""
            SELECT created_at, action, weight, reason, actor
            FROM decisions WHERE rollout = ${rollout:sqlstring}::integer ORDER BY id DESC LIMIT 200
        """),
        columns={"reason": {"custom.width": 420}, "weight": {"unit": "percent"}},
    )


def _faults() -> parts.Panel:
    return parts.rows(
        "What spoilt evidence · Ce qui a gâté des indices",
        "Each kind of fault, how often a look met it, and what it said last.",
        Sql(f"""
            SELECT kind, count(*) AS looks, to_timestamp(max(tick) / 1000.0) AS last,
                   (array_agg(sentence ORDER BY tick DESC))[1] AS sentence
            FROM evidence_faults WHERE {_LOOKS} GROUP BY kind ORDER BY max(tick) DESC
        """),
        columns={"sentence": {"custom.width": 380}},
    )
