"""What users say: votes and labels by the hour. Reads PostgreSQL's counts by the hour, however many predictions."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards import parts
from monitoring.dashboards.parts import SHARE, Sql

_WHERE = "$__timeFilter(hour) AND model IN (${model:sqlstring})"
# Fewer votes in an hour say nothing of it.
_LEAST_VOTES = 5


def dashboard() -> Dashboard:
    """The page of votes and labels."""
    return parts.board(
        "feedback",
        "Canari: feedback · avis des utilisateurs",
        "What users said of the answers, counted by the hour in which they asked, however late they said it.",
        [parts.column_values("model", "Model · Modèle", "SELECT name FROM models ORDER BY name", several=True)],
        [
            (
                4,
                [
                    (6, _number("Predictions · Prédictions", "Answers of the range.", "sum(predictions)")),
                    (6, _number("Votes", "Answers of the range that somebody voted on.", "sum(voted)")),
                    (
                        6,
                        _number(
                            "Satisfaction",
                            "Share of the votes that say right.",
                            "sum(satisfied)::float8 / nullif(sum(voted), 0)",
                            SHARE,
                        ),
                    ),
                    (
                        6,
                        _number(
                            "Participation",
                            "Votes per answer.",
                            "sum(voted)::float8 / nullif(sum(predictions), 0)",
                            SHARE,
                        ),
                    ),
                ],
            ),
            (9, [(12, _satisfaction()), (12, _participation())]),
            (9, [(12, _accuracy()), (12, _amounts())]),
            (10, [(14, _worst()), (10, _versions())]),
        ],
        since="now-7d",
    )


def _number(title: str, description: str, value: str, unit: str = parts.COUNT) -> parts.Panel:
    return parts.number(title, description, Sql(f"SELECT {value} AS value FROM hours WHERE {_WHERE}"), unit=unit)


def _by_hour(part: str, whole: str) -> Sql:
    return Sql(f"""
        SELECT hour AS "time", model || ' v' || version AS metric, {part}::float8 / {whole} AS value
        FROM hours WHERE {_WHERE} AND {whole} > 0 ORDER BY hour
    """)


def _threshold(path: str) -> Sql:
    """A line across the whole range for each model, from its live specification."""
    return Sql(f"""
        SELECT moment AS "time", m.name || ': {parts.THRESHOLD}' AS metric, (s.body #>> '{{{path}}}')::float8 AS value
        FROM models m JOIN specs s ON s.hash = m.spec_hash,
             (VALUES ($__timeFrom()::timestamptz), ($__timeTo()::timestamptz)) AS ends (moment)
        WHERE m.name IN (${{model:sqlstring}}) AND s.body #>> '{{{path}}}' IS NOT NULL ORDER BY moment
    """)


def _satisfaction() -> parts.Panel:
    return parts.curves(
        "Satisfaction",
        "Share of the votes that say right, by the hour. Dashed: where users count as unhappy.",
        _by_hour("satisfied", "voted"),
        _threshold("triggers,satisfaction,below"),
        unit=SHARE,
        most=1,
    )


def _participation() -> parts.Panel:
    return parts.curves(
        "Participation",
        "Votes per answer, by the hour. Dashed: what satisfaction needs to count.",
        _by_hour("voted", "predictions"),
        _threshold("triggers,satisfaction,participation"),
        unit=SHARE,
    )


def _accuracy() -> parts.Panel:
    return parts.curves(
        "Accuracy by late labels · Exactitude selon les labels",
        "Share of the votes with a label that name the answer. Dashed: what the specification asks for.",
        _by_hour("correct", "labelled"),
        _threshold("triggers,accuracy_below"),
        unit=SHARE,
        most=1,
    )


def _amounts() -> parts.Panel:
    return parts.curves(
        "Votes and labels · Votes et labels",
        "How many there are, by the hour in which was asked.",
        Sql(f"""
            SELECT hour AS "time", what.name AS metric, sum(what.n) AS value
            FROM hours, LATERAL (VALUES ('right · juste', satisfied), ('wrong · faux', voted - satisfied),
                                        ('with a label · avec un label', labelled)) AS what (name, n)
            WHERE {_WHERE} GROUP BY hour, what.name ORDER BY hour
        """),
    )


def _worst() -> parts.Panel:
    return parts.rows(
        "Worst hours · Les pires heures",
        f"The hours of the range in which the fewest votes say right, of those with {_LEAST_VOTES} votes at least.",
        Sql(f"""
            SELECT hour, model, version, satisfied::float8 / voted AS satisfaction, voted AS votes, predictions,
                   latency_ms / nullif(predictions, 0) AS latency, failed
            FROM hours WHERE {_WHERE} AND voted >= {_LEAST_VOTES} ORDER BY satisfaction, voted DESC LIMIT 20
        """),
        columns={"satisfaction": {"unit": SHARE, "decimals": 0}, "latency": {"unit": "ms", "decimals": 0}},
    )


def _versions() -> parts.Panel:
    return parts.rows(
        "By version · Par version",
        "The range's votes and labels, by version.",
        Sql(f"""
            SELECT model, version, sum(voted) AS votes, sum(satisfied)::float8 / nullif(sum(voted), 0) AS satisfaction,
                   sum(labelled) AS labels, sum(correct)::float8 / nullif(sum(labelled), 0) AS accuracy
            FROM hours WHERE {_WHERE} GROUP BY model, version ORDER BY model, version DESC
        """),
        columns={
            "satisfaction": {"unit": SHARE, "decimals": 0},
            "accuracy": {"unit": SHARE, "decimals": 0},
        },
    )
