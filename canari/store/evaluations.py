"""How live versions do over a window of time, measured from predictions and feedback and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select, text, true
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.ids import first_id
from canari.store import tables as t

# A prediction has one vote: that of the person who asked, else the first, however late it came.
_VOTED = """
    made AS (
        SELECT id, subject, status, label, score FROM predictions
        WHERE model = :model AND version = :version AND id >= :first AND id < :last AND kind IN ('arm', 'direct')
    ), voted AS (
        SELECT DISTINCT ON (made.id) f."right", f.label AS truth, made.label, made.score
        FROM made JOIN feedback f ON f.prediction_id = made.id AND f.model = :model
        WHERE made.status < 400
        ORDER BY made.id, (f.subject = made.subject) DESC, f.id
    )
"""
# Holes in recorders' counts cannot be dated, so those of every recorder that wrote in the window count.
_MEASURE = text(f"""
    WITH {_VOTED}, answered AS (
        SELECT label, count(*) AS n FROM made WHERE status < 400 AND label IS NOT NULL GROUP BY label
    ), wrote AS (
        SELECT highest - received AS holes FROM recorders
        WHERE model = :model AND version = :version AND seen_at >= :since AND created_at < :until
    )
    SELECT
        (SELECT count(*) FROM made WHERE status < 400) AS predictions,
        (SELECT count(*) FROM made WHERE status >= 400) AS refused,
        (SELECT coalesce(sum(holes), 0) FROM wrote) AS lost,
        count(*) AS voted,
        count(*) FILTER (WHERE "right") AS satisfied,
        count(truth) AS labelled,
        count(*) FILTER (WHERE truth = label) AS correct,
        (SELECT coalesce(jsonb_object_agg(label, n), '{{}}') FROM answered) AS answers
    FROM voted
""")  # noqa: S608 - our own constant
_LABELLED = text(f"""
    WITH {_VOTED}
    SELECT label AS answer, truth, least(9, floor(coalesce(score, 0) * 10))::int AS tenth, count(*) AS n,
           sum(coalesce(score, 0)::float8) AS certainty
    FROM voted WHERE truth IS NOT NULL AND label IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")  # noqa: S608 - our own constant


@dataclass(frozen=True, slots=True)
class LiveEvaluation:
    """What one version did with the requests of the window [since, until).

    `predictions` were answered and `refused` were not; `lost` were made and never arrived. `voted` predictions have a
    vote, `satisfied` of these say right; `labelled` votes name what it really was, `correct` of these name the answer.
    `answers` counts the predictions by their label.

    `held_out` is how it does on today's evaluation set (canari.evaluation.Evaluation.document() and more, see
    services.jobs.scoring), None where there is none; `calibration_error` tells how far its certainty is from the share
    that late labels bear out; `drift` is canari.drift.Drift.document(); `report` names the report's file.
    """

    model: str
    version: int
    since: datetime
    until: datetime
    predictions: int
    refused: int
    lost: int
    voted: int
    satisfied: int
    labelled: int
    correct: int
    answers: dict[str, int]
    held_out: dict[str, Any] | None = None
    calibration_error: float | None = None
    drift: dict[str, Any] | None = None
    report: str | None = None

    @property
    def participation(self) -> float | None:
        """Votes per prediction; None without predictions."""
        return _share(self.voted, self.predictions)

    @property
    def satisfaction(self) -> float | None:
        """Share of the votes that say right; None without votes."""
        return _share(self.satisfied, self.voted)

    @property
    def accuracy(self) -> float | None:
        """Share of the late labels that are the answer; None without labels."""
        return _share(self.correct, self.labelled)

    @property
    def answer_shares(self) -> dict[str, float]:
        """Each answer's share of the predictions, the most frequent first."""
        ranked = sorted(self.answers.items(), key=lambda item: (-item[1], item[0]))
        return {label: n / self.predictions for label, n in ranked}

    def document(self) -> dict[str, Any]:
        """The counts and shares as JSON values."""
        shares = ("participation", "satisfaction", "accuracy")
        return {
            **asdict(self),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            **{name: getattr(self, name) for name in shares},
            "answer_shares": self.answer_shares,
        }


@dataclass(frozen=True, slots=True)
class Labelled:
    """`n` predictions answered `answer` that were `truth`, their certainty in the tenth `tenth` (0 to 9).

    `certainty` is the sum of their scores.
    """

    answer: str
    truth: str
    tenth: int
    n: int
    certainty: float


def measure(engine: Engine, model: str, version: int, since: datetime, until: datetime) -> LiveEvaluation:
    """What a version did in the window [since, until) of aware moments; mirrored requests do not count."""
    with engine.connect() as connection:
        row = connection.execute(_MEASURE, _window(model, version, since, until)).mappings().one()
    counts: dict[str, Any] = {name: int(value) for name, value in row.items() if name != "answers"}
    return LiveEvaluation(model, version, since, until, answers=row["answers"], **counts)


def labelled(engine: Engine, model: str, version: int, since: datetime, until: datetime) -> list[Labelled]:
    """What a version answered and what it really was, where people named that, in the window [since, until)."""
    with engine.connect() as connection:
        return [Labelled(*row) for row in connection.execute(_LABELLED, _window(model, version, since, until))]


def keep(engine: Engine, measured: LiveEvaluation) -> None:
    """Keep an evaluation; one of the same window gives way to it, for votes come late."""
    values = asdict(measured)
    key = [t.evaluations.c[name] for name in ("model", "version", "until", "since")]
    figures = {name: value for name, value in values.items() if name not in {column.name for column in key}}
    statement = upsert(t.evaluations).values(values)
    with engine.begin() as connection:
        connection.execute(
            statement.on_conflict_do_update(index_elements=key, set_={**figures, "measured_at": func.now()})
        )


def latest(engine: Engine) -> dict[tuple[str, int], LiveEvaluation]:
    """The newest evaluation of each version that has one, by model and version."""
    e = t.evaluations.c
    names = LiveEvaluation.__dataclass_fields__
    newest = (
        select(*(e[name] for name in names))
        .where(e.model == t.versions.c.model, e.version == t.versions.c.number)
        .order_by(e.until.desc(), e.since.desc())
        .limit(1)
        .lateral()
    )
    with engine.connect() as connection:
        rows = connection.execute(select(newest).select_from(t.versions.join(newest, true()))).mappings()
        found = [LiveEvaluation(**row) for row in rows]
    return {(one.model, one.version): one for one in found}


def past(engine: Engine, model: str, *, last: int, version: int | None = None) -> list[LiveEvaluation]:
    """The `last` newest evaluations of a model's versions, or of one version, newest first."""
    e = t.evaluations.c
    query = select(*(e[name] for name in LiveEvaluation.__dataclass_fields__)).where(e.model == model)
    if version is not None:
        query = query.where(e.version == version)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(e.until.desc(), e.since.desc(), e.version.desc()).limit(last))
        return [LiveEvaluation(**row) for row in rows.mappings()]


def _window(model: str, version: int, since: datetime, until: datetime) -> dict[str, Any]:
    moments = {"since": since, "until": until, "first": first_id(since), "last": first_id(until)}
    return {"model": model, "version": version, **moments}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
