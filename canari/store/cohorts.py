"""The SQL of votes, late labels and shadows: what was said of one cohort of requests, by arm.

All is found by the ids of a cohort's predictions, which sort by time: feedback's own index has them first, and the
predictions lie in the partitions of that time. So a look costs what its cohort holds, however much there is besides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, CursorResult, text

from canari.cohorts import Heard
from canari.ids import first_id
from canari.observations import Evidence, Metric
from canari.tokens import VISITOR

# Visitors without a session share no name: nobody knows whether two of them are one person.
_NAMELESS = "anonymous:"
# A vote may be dated before its request by so much, where the clocks of bentos and of the database differ. Without
# bounds of time the planner may well read all of a model's votes in feedback's other index.
_SKEW = timedelta(minutes=5)
# Of a request and its copy, sent at once, each version makes its own id.
APART = timedelta(seconds=5)
_ASKED = """
    p.model = :model AND p.version = ANY(:versions) AND p.id >= :first AND p.id < :last
    AND p.kind = 'arm' AND p.rollout = :rollout AND p.status < 400
"""
_SAID = f"""
    feedback f JOIN predictions p ON p.id = f.prediction_id
    WHERE {_ASKED} AND f.model = :model AND f.prediction_id >= :first AND f.prediction_id < :last
    AND f.created_at >= :earliest AND f.created_at < :latest AND NOT starts_with(f.subject, '{_NAMELESS}')
"""

# A prediction has one vote: that of the person who asked, else the first. A person has one vote on each version: that
# on the earliest request. The second insert of a voter finds the first.
_VOTES = text(f"""
    WITH asked AS (
        SELECT p.version, p.step, count(*) AS n FROM predictions p WHERE {_ASKED} GROUP BY p.version, p.step
    ), heard AS (
        SELECT DISTINCT ON (p.id) p.id, p.version, p.step, f.subject, f.first_right
        FROM {_SAID} AND f.prediction_id >= first_uuid7(f.created_at - :age)
        ORDER BY p.id, (f.subject = p.subject) DESC, f.id
    ), firsts AS (
        SELECT DISTINCT ON (version, subject) version, step, subject, first_right FROM heard
        ORDER BY version, subject, id
    ), new AS (
        INSERT INTO evidence_voters (rollout, version, metric, subject)
        SELECT :rollout, version, :metric, subject FROM firsts ORDER BY version, subject
        ON CONFLICT DO NOTHING
        RETURNING version, subject
    ), voted AS (
        SELECT version, step, count(*) AS n FROM heard GROUP BY version, step
    ), votes AS (
        SELECT version, step, count(*) AS n, count(*) FILTER (WHERE NOT first_right) AS wrong
        FROM firsts JOIN new USING (version, subject) GROUP BY version, step
    ), busiest AS (
        SELECT version, max(n) AS n
        FROM (SELECT version, subject, count(*) AS n FROM heard GROUP BY version, subject) AS people GROUP BY version
    )
    SELECT asked.version, asked.step, asked.n AS asked, coalesce(voted.n, 0) AS voted,
           coalesce(votes.n, 0) AS votes, coalesce(votes.wrong, 0) AS wrong, coalesce(busiest.n, 0) AS busiest
    FROM asked LEFT JOIN voted USING (version, step) LEFT JOIN votes USING (version, step)
    LEFT JOIN busiest USING (version)
""")  # noqa: S608 - our own constants

# A prediction has one label. Whoever has a name with the platform may give as many as there are; a visitor gives one
# to each version, as with votes.
_LABELS = text(f"""
    WITH heard AS (
        SELECT DISTINCT ON (p.id) p.id, p.version, p.step, f.subject, f.label <> p.label AS wrong,
               starts_with(f.subject, '{VISITOR}') AS visitor
        FROM {_SAID} AND f.prediction_id >= first_uuid7(f.changed_at - :age)
          AND f.label IS NOT NULL AND p.label IS NOT NULL
        ORDER BY p.id, starts_with(f.subject, '{VISITOR}'), (f.subject = p.subject) DESC, f.id
    ), firsts AS (
        SELECT DISTINCT ON (version, subject) version, step, subject, wrong FROM heard WHERE visitor
        ORDER BY version, subject, id
    ), new AS (
        INSERT INTO evidence_voters (rollout, version, metric, subject)
        SELECT :rollout, version, :metric, subject FROM firsts ORDER BY version, subject
        ON CONFLICT DO NOTHING
        RETURNING version, subject
    ), labels AS (
        SELECT version, step, wrong FROM heard WHERE NOT visitor
        UNION ALL
        SELECT version, step, wrong FROM firsts JOIN new USING (version, subject)
    )
    SELECT version, step, count(*) AS n, count(*) FILTER (WHERE wrong) AS wrong FROM labels GROUP BY version, step
""")  # noqa: S608 - our own constants

# A request and its copy are one pair, by what each answered its first input. Within a private network clients may name
# their requests, and so name two alike: what is known to be of other inputs is no pair. Both sides are sorted together
# and not joined: what the planner thinks of a partition that is minutes old may be far off.
PAIRS = """
    firsts AS (
        SELECT DISTINCT ON (p.request_id, p.kind)
               p.request_id, p.kind, p.id, p.version, p.step, p.label, p.score, p.input_sha256
        FROM predictions p
        WHERE p.model = :model AND p.version = ANY(:versions) AND p.id >= :first_copy AND p.id < :last_copy
          AND p.rollout = :rollout AND p.status < 400 AND p.label IS NOT NULL
          AND (p.kind = 'shadow' OR p.kind = 'arm' AND p.id >= :first AND p.id < :last)
        ORDER BY p.request_id, p.kind, p.id
    ), pairs AS (
        SELECT request_id, kind, id, version, step, label, score, input_sha256, lag(id) OVER answered AS answer,
               lag(label) OVER answered AS answer_label, lag(score) OVER answered AS answer_score,
               lag(input_sha256) OVER answered AS answer_sha256
        FROM firsts WINDOW answered AS (PARTITION BY request_id ORDER BY kind)
    ), copies AS (
        SELECT * FROM pairs
        WHERE kind = 'shadow' AND answer IS NOT NULL AND coalesce(answer_sha256 = input_sha256, true)
    )
"""
_AGREEMENT = text(f"""
    WITH {PAIRS}
    SELECT version, step, count(*) AS n, count(*) FILTER (WHERE label <> answer_label) AS wrong
    FROM copies GROUP BY version, step
""")  # noqa: S608 - our own constants

_MISSING = text("""
    SELECT version, sum(highest - received) AS missing FROM recorders
    WHERE model = :model AND version = ANY(:versions) GROUP BY version
""")


@dataclass(frozen=True, slots=True)
class Cohort:
    """The requests of [since, until) that a rollout's versions got by its split; looked at when they are `age` old."""

    model: str
    rollout: int
    versions: Collection[int]
    since: datetime
    until: datetime
    age: timedelta

    def parameters(self) -> dict[str, Any]:
        """What every statement asks for."""
        return {
            "model": self.model,
            "rollout": self.rollout,
            "versions": list(self.versions),
            "first": first_id(self.since),
            "last": first_id(self.until),
        }

    def said(self, metric: Metric) -> dict[str, Any]:
        """What a statement about feedback asks for."""
        return {
            **self.parameters(),
            "age": self.age,
            "earliest": self.since - _SKEW,
            "latest": self.until + self.age,
            "metric": metric,
        }

    def copied(self) -> dict[str, Any]:
        """What a statement about pairs asks for."""
        copies = {"first_copy": first_id(self.since - APART), "last_copy": first_id(self.until + APART)}
        return {**self.parameters(), **copies}


def votes(connection: Connection, cohort: Cohort) -> list[Heard]:
    """What people said in time of a cohort's answers, by arm. Each cohort is to be asked for once: voters are kept."""
    rows = connection.execute(_VOTES, cohort.said(Metric.SATISFACTION)).mappings()
    return [Heard(**{name: int(value) for name, value in row.items()}) for row in rows]


def labels(connection: Connection, cohort: Cohort, tick: int) -> list[Evidence]:
    """The late labels that came in time for a cohort's answers, by arm. Each cohort is to be asked for once."""
    rows = connection.execute(_LABELS, cohort.said(Metric.ACCURACY))
    return _evidence(rows, cohort, tick, Metric.ACCURACY)


def agreement(connection: Connection, cohort: Cohort, tick: int) -> list[Evidence]:
    """The shadow's answers to copies of a cohort's requests, where stable answered too; bad are other ones."""
    return _evidence(connection.execute(_AGREEMENT, cohort.copied()), cohort, tick, Metric.AGREEMENT)


def missing(connection: Connection, model: str, versions: Collection[int]) -> dict[int, int]:
    """How many predictions of each version were made and have not arrived, by the counts of its processes."""
    rows = connection.execute(_MISSING, {"model": model, "versions": list(versions)})
    return dict.fromkeys(versions, 0) | {row.version: int(row.missing) for row in rows}


def _evidence(rows: CursorResult[Any], cohort: Cohort, tick: int, metric: Metric) -> list[Evidence]:
    return [Evidence(cohort.rollout, tick, row.step, row.version, metric, row.n, row.wrong) for row in rows]
