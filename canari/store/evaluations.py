"""How live versions do over a window of time, measured from predictions and feedback and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select, text, true
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.ids import first_id
from canari.store import tables as t

# A prediction has one vote: that of the person who asked, else the first, however late it came. Holes in recorders'
# counts cannot be dated, so those of every recorder that wrote in the window count.
_MEASURE = text("""
    WITH made AS (
        SELECT id, subject, status, label FROM predictions
        WHERE model = :model AND version = :version AND id >= :first AND id < :last AND kind IN ('arm', 'direct')
    ), voted AS (
        SELECT DISTINCT ON (made.id) f."right", f.label AS truth, made.label
        FROM made JOIN feedback f ON f.prediction_id = made.id AND f.model = :model
        WHERE made.status < 400
        ORDER BY made.id, (f.subject = made.subject) DESC, f.id
    ), answered AS (
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
        (SELECT coalesce(jsonb_object_agg(label, n), '{}') FROM answered) AS answers
    FROM voted
""")


@dataclass(frozen=True, slots=True)
class LiveEvaluation:
    """What one version did with the requests of the window [since, until).

    `predictions` were answered and `refused` were not; `lost` were made and never arrived. `voted` predictions have a
    vote, `satisfied` of these say right; `labelled` votes name what it really was, `correct` of these name the answer.
    `answers` counts the predictions by their label.
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


def measure(engine: Engine, model: str, version: int, since: datetime, until: datetime) -> LiveEvaluation:
    """What a version did in the window [since, until) of aware moments; mirrored requests do not count."""
    window = {"since": since, "until": until, "first": first_id(since), "last": first_id(until)}
    with engine.connect() as connection:
        row = connection.execute(_MEASURE, {"model": model, "version": version, **window}).mappings().one()
    counts = {name: int(value) for name, value in row.items() if name != "answers"}
    return LiveEvaluation(model, version, since, until, answers=row["answers"], **counts)


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


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
