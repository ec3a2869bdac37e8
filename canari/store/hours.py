"""Counts by the hour: what dashboards and statuses read, so that a long past costs them nothing.

The database itself adds each batch of predictions to its hours, in the transaction that inserts them, whatever release
writes. Votes come late, change, and may come first, so they are counted anew: whatever touches them leaves a *mark* on
the hour their prediction was made in, and `sweep` counts the marked hours and takes the marks away. A mark is visible
exactly when what it stands for is, so nothing is lost and nothing counts twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select, text

from canari.store import tables as t

_HOUR = timedelta(hours=1)
# The most hours that one transaction counts anew: the first sweep of an old database does not hold it up for long.
_AT_ONCE = 24
_LOCK = 0x0CA7A122

_TAKE = text("""
    WITH chosen AS (SELECT DISTINCT model, hour FROM hour_marks ORDER BY hour DESC, model LIMIT :most),
    taken AS (DELETE FROM hour_marks USING chosen c WHERE (hour_marks.model, hour_marks.hour) = (c.model, c.hour))
    SELECT model, hour FROM chosen
""")
# A statement of its own, so that it sees all that was committed before the marks were taken. A prediction has one vote:
# that of the person who asked, else the first, however late it came. The rows are locked in the order in which batches
# lock them.
_COUNT = text("""
    WITH marked AS (
        SELECT * FROM unnest(CAST(:models AS text[]), CAST(:hours AS timestamptz[])) AS m (model, hour)
    ), voted AS (
        SELECT DISTINCT ON (p.id) p.model, p.version, marked.hour, f."right", f.label AS truth, p.label
        FROM marked
        JOIN feedback f ON f.model = marked.model AND f.prediction_id >= first_uuid7(marked.hour)
                       AND f.prediction_id < first_uuid7(marked.hour + interval '1 hour')
        JOIN predictions p ON p.id = f.prediction_id AND p.model = marked.model
        WHERE p.status < 400 AND p.kind IN ('arm', 'direct')
        ORDER BY p.id, (f.subject = p.subject) DESC, f.id
    ), counted AS (
        SELECT model, version, hour, count(*) AS voted, count(*) FILTER (WHERE "right") AS satisfied,
               count(truth) AS labelled, count(*) FILTER (WHERE truth = label) AS correct
        FROM voted GROUP BY model, version, hour
    )
    INSERT INTO hours (model, version, hour, voted, satisfied, labelled, correct)
    SELECT h.model, h.version, h.hour, coalesce(c.voted, 0), coalesce(c.satisfied, 0), coalesce(c.labelled, 0),
           coalesce(c.correct, 0)
    FROM marked JOIN hours h USING (model, hour) LEFT JOIN counted c USING (model, version, hour)
    ORDER BY 1, 2, 3
    ON CONFLICT (model, version, hour) DO UPDATE SET
        voted = excluded.voted, satisfied = excluded.satisfied, labelled = excluded.labelled, correct = excluded.correct
    WHERE (hours.voted, hours.satisfied, hours.labelled, hours.correct)
        IS DISTINCT FROM (excluded.voted, excluded.satisfied, excluded.labelled, excluded.correct)
""")


@dataclass(frozen=True, slots=True)
class Hour:
    """What one version did with the requests of the hour that begins at `hour` (aware).

    `predictions` were answered, `refused` were not by the request's own fault (4xx), `failed` by the platform's (5xx).
    `latency_ms` and `score` are sums over the answered, and `answers` counts them by label. `voted` of them have a
    vote, `satisfied` of these say right; `labelled` votes name what it really was, `correct` of these name the answer.
    """

    model: str
    version: int
    hour: datetime
    predictions: int = 0
    refused: int = 0
    failed: int = 0
    latency_ms: float = 0.0
    score: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    voted: int = 0
    satisfied: int = 0
    labelled: int = 0
    correct: int = 0


_COLUMNS = tuple(t.hours.c[one.name] for one in fields(Hour))


@dataclass(frozen=True, slots=True)
class Summary:
    """What people said of a version: `n` of its `predictions` have a vote, `satisfied` of these say right."""

    version: int
    predictions: int
    n: int
    satisfied: int

    @property
    def satisfaction(self) -> float | None:
        """Share of the votes that say right; None without votes."""
        return self.satisfied / self.n if self.n else None

    @property
    def participation(self) -> float | None:
        """Votes per prediction; None without predictions."""
        return self.n / self.predictions if self.predictions else None


def sweep(engine: Engine, *, seconds: float = 1.0) -> int:
    """Count the votes of the marked hours anew, newest first; returns how many hours of models that were.

    It begins nothing more once `seconds` are over: what is left is the next one's, as where it is killed midway. While
    another sweeps, there is nothing to do.
    """
    began, swept = time.monotonic(), 0
    while (taken := _sweep_some(engine)) == _AT_ONCE and time.monotonic() < began + seconds:
        swept += taken
    return swept + taken


def first_hour(now: datetime, hours: int) -> datetime:
    """The beginning of the last `hours` hours (UTC), of which the running one is the last."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - (hours - 1) * _HOUR


def summaries(engine: Engine, now: datetime, hours: int = 24) -> dict[str, list[Summary]]:
    """What people said of each model's versions in the last whole `hours`, the running one among them, by version."""
    h = t.hours.c
    counts = (func.sum(column) for column in (h.predictions, h.voted, h.satisfied))
    query = (
        select(h.model, h.version, *counts)
        .where(h.hour >= first_hour(now, hours))
        .group_by(h.model, h.version)
        .having(func.sum(h.predictions) > 0)
        .order_by(h.model, h.version)
    )
    found: dict[str, list[Summary]] = {}
    with engine.connect() as connection:
        for model, *row in connection.execute(query):
            found.setdefault(model, []).append(Summary(*map(int, row)))
    return found


def history(engine: Engine, model: str, since: datetime, *, version: int | None = None) -> list[Hour]:
    """A model's hours from that of `since` (aware) on, oldest first; `version`: this one's alone."""
    query = select(*_COLUMNS).where(t.hours.c.model == model, t.hours.c.hour >= first_hour(since, 1))
    if version is not None:
        query = query.where(t.hours.c.version == version)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(t.hours.c.hour, t.hours.c.version)).mappings()
        return [Hour(**row) for row in rows]


def _sweep_some(engine: Engine) -> int:
    with engine.begin() as connection:
        if not connection.execute(select(func.pg_try_advisory_xact_lock(_LOCK))).scalar_one():
            return 0
        marked = connection.execute(_TAKE, {"most": _AT_ONCE}).all()
        if marked:
            connection.execute(_COUNT, {"models": [row.model for row in marked], "hours": [row.hour for row in marked]})
        return len(marked)
