"""One model: how its versions serve, what users and evaluations say of them, and what they are asked."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards import parts
from monitoring.dashboards.parts import COUNT, RATE, SECONDS, SHARE, THRESHOLD, Prom, Sql

_SEEN = 'model="$model", kind!="shadow"'
_ALL = f"sum by (version) (rate(canari_requests_total{{{_SEEN}}}[$__rate_interval]))"


def dashboard() -> Dashboard:
    """One model's page."""
    return parts.board(
        "model",
        "Canari: one model · un modèle",
        "One model's versions side by side: how they serve, what users say, how right they are, what they are asked.",
        [parts.series_values("model", "Model · Modèle", "canari_traffic_weight", several=False)],
        [
            "Serving · Service",
            (8, [(8, _requests()), (8, _failures()), (8, _latency())]),
            (8, [(8, _refused()), (8, _stages()), (8, _in_flight())]),
            "Quality · Qualité",
            (8, [(8, _satisfaction()), (8, _participation()), (8, _accuracy())]),
            (8, [(8, _calibration()), (8, _confidence()), (8, _samples())]),
            "Inputs and answers · Entrées et réponses",
            (8, [(8, _drift()), (16, _answers())]),
            "Versions",
            (9, [(11, _versions()), (13, _evaluations())]),
        ],
    )


def _share_of(status: str) -> str:
    part = f'sum by (version) (rate(canari_requests_total{{{_SEEN}, status=~"{status}"}}[$__rate_interval]))'
    return f"({part} or 0 * {_ALL}) / ({_ALL} > 0)"


def _threshold(metric: str) -> Prom:
    return Prom(f'max({metric}{{model="$model"}})', THRESHOLD)


def _of_versions(metric: str, legend: str = "v{{version}}") -> Prom:
    return Prom(f'max by (version) ({metric}{{model="$model"}})', legend)


def _requests() -> parts.Panel:
    kinds = 'sum by (version, kind) (rate(canari_requests_total{model="$model"}[$__rate_interval]))'
    return parts.curves(
        "Requests · Requêtes",
        "Answers per second by version: arm by weight, pin by choice, shadow mirrored, direct without a gateway.",
        Prom(kinds, "v{{version}} {{kind}}"),
        unit=RATE,
    )


def _failures() -> parts.Panel:
    return parts.curves(
        "Errors · Erreurs",
        "Share of the answers with a status of 500 and above.",
        Prom(_share_of("5.."), "v{{version}}"),
        unit=SHARE,
    )


def _refused() -> parts.Panel:
    return parts.curves(
        "Refused · Refusées",
        "Share of the requests that a version was too full for (429), and of those it could not read (other 4xx).",
        Prom(_share_of("429"), "v{{version}} 429"),
        Prom(_share_of("4[013-9].|42[0-8]"), "v{{version}} 4xx"),
        unit=SHARE,
    )


def _latency() -> parts.Panel:
    def quantile(q: float) -> Prom:
        rate = f"rate(canari_request_seconds_bucket{{{_SEEN}}}[$__rate_interval])"
        return Prom(f"histogram_quantile({q}, sum by (le, version) ({rate}))", f"v{{{{version}}}} p{100 * q:.0f}")

    return parts.curves(
        "Time to answer · Temps de réponse",
        "From arrival at a version to its answer. Dashed: the latency budget of the specification.",
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
        _threshold("canari_latency_budget_seconds"),
        unit=SECONDS,
    )


def _stages() -> parts.Panel:
    def stage(metric: str, legend: str) -> Prom:
        rate = f'rate({metric}_bucket{{model="$model"}}[$__rate_interval])'
        return Prom(f"histogram_quantile(0.95, sum by (le, version) ({rate}))", f"v{{{{version}}}} {legend}")

    return parts.curves(
        "Where the time goes (p95) · Où va le temps",
        "Decoding the inputs, and running the model.",
        stage("canari_decode_seconds", "decode"),
        stage("canari_inference_seconds", "inference"),
        unit=SECONDS,
    )


def _in_flight() -> parts.Panel:
    return parts.curves(
        "In flight · En cours",
        "Requests that a version holds at this moment.",
        Prom('sum by (version) (canari_requests_in_flight{model="$model"})', "v{{version}}"),
    )


def _satisfaction() -> parts.Panel:
    return parts.curves(
        "Satisfaction",
        "Share of the last 24 hours' votes that say right. Dashed: where users count as unhappy.",
        _of_versions("canari_satisfaction_ratio"),
        _threshold("canari_satisfaction_threshold"),
        unit=SHARE,
        most=1,
    )


def _participation() -> parts.Panel:
    return parts.curves(
        "Participation",
        "Votes per prediction of the last 24 hours. Dashed: what satisfaction needs to count.",
        _of_versions("canari_participation_ratio"),
        _threshold("canari_participation_threshold"),
        unit=SHARE,
    )


def _accuracy() -> parts.Panel:
    return parts.curves(
        "Accuracy · Exactitude",
        "As it was evaluated last, on held-out samples and on late labels. Dashed: what the specification asks for.",
        Prom(
            'max by (version, source) (canari_accuracy_ratio{model="$model"})',
            "v{{version}} {{source}}",
        ),
        _threshold("canari_accuracy_threshold"),
        unit=SHARE,
        most=1,
    )


def _calibration() -> parts.Panel:
    return parts.curves(
        "Calibration error · Erreur de calibration",
        "How far the certainty that answers tell is from how often they are right.",
        _of_versions("canari_calibration_error"),
        unit=SHARE,
    )


def _confidence() -> parts.Panel:
    return parts.curves(
        "Certainty · Certitude",
        "Mean certainty of the answers, by the hour.",
        Sql("""
            SELECT hour AS "time", 'v' || version AS metric, sum(score) / nullif(sum(predictions), 0) AS value
            FROM hours WHERE $__timeFilter(hour) AND model = ${model:sqlstring}
            GROUP BY hour, version ORDER BY hour
        """),
        unit=SHARE,
        most=1,
    )


def _samples() -> parts.Panel:
    return parts.curves(
        "New samples · Nouveaux exemples",
        "Since the stable version was trained, and inputs that wait to be looked at. Dashed: enough to train again.",
        Prom('max(canari_new_samples{model="$model"})', "new · nouveaux"),
        Prom('max(canari_inputs_waiting{model="$model"})', "to look at · à trier"),
        _threshold("canari_new_samples_threshold"),
        unit=COUNT,
    )


def _drift() -> parts.Panel:
    return parts.curves(
        "Drift · Dérive",
        "Share of what is measured of the inputs that has moved since training. Dashed: the specification's trigger.",
        _of_versions("canari_drift_share"),
        _threshold("canari_drift_threshold"),
        unit=SHARE,
        most=1,
    )


def _answers() -> parts.Panel:
    return parts.curves(
        "Answers · Réponses",
        "How often each label was answered, by the hour; the 20 most frequent of the range.",
        Sql("""
            WITH counted AS (
                SELECT hour, answer.key AS label, sum(answer.value::bigint) AS n
                FROM hours, jsonb_each_text(answers) AS answer
                WHERE $__timeFilter(hour) AND model = ${model:sqlstring}
                GROUP BY hour, answer.key
            ), frequent AS (SELECT label FROM counted GROUP BY label ORDER BY sum(n) DESC LIMIT 20)
            SELECT hour AS "time", label AS metric, n AS value FROM counted JOIN frequent USING (label) ORDER BY hour
        """),
        stacked=True,
    )


def _versions() -> parts.Panel:
    return parts.rows(
        "Versions",
        "Newest first; their accuracy as training measured it on held-out samples.",
        Sql("""
            SELECT number AS version, state, (metrics ->> 'accuracy')::float8 AS accuracy, synthetic, created_at, error
            FROM versions WHERE model = ${model:sqlstring} ORDER BY number DESC LIMIT 50
        """),
        columns={"accuracy": {"unit": SHARE, "decimals": 1}},
    )


def _evaluations() -> parts.Panel:
    return parts.rows(
        "Evaluations · Évaluations",
        "Newest first.",
        Sql("""
            SELECT until, version, predictions, voted, satisfied::float8 / nullif(voted, 0) AS satisfaction,
                   labelled, correct::float8 / nullif(labelled, 0) AS accuracy, calibration_error, lost
            FROM evaluations WHERE $__timeFilter(until) AND model = ${model:sqlstring}
            ORDER BY until DESC, version DESC LIMIT 100
        """),
        columns={
            "satisfaction": {"unit": SHARE, "decimals": 0},
            "accuracy": {"unit": SHARE, "decimals": 0},
            "calibration_error": {"unit": SHARE, "decimals": 1, "displayName": "calibration error"},
        },
    )
