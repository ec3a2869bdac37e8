"""What people said of predictions. Feedback may overtake its prediction, so the two are joined on read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Engine, func, literal_column, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.ids import first_id
from canari.store import tables as t
from canari.types import Feedback

Outcome = Literal["created", "same", "changed"]

# A prediction has one vote: that of the person who asked, else the first. So nobody gains by taking more names.
_SUMMARY = text("""
    WITH voted AS (
        SELECT DISTINCT ON (p.id) p.version, f."right"
        FROM feedback f JOIN predictions p ON p.id = f.prediction_id
        WHERE f.model = :model AND f.created_at >= :since
          AND p.model = :model AND p.id >= :first AND p.status < 400 AND p.kind IN ('arm', 'direct')
        ORDER BY p.id, (f.subject = p.subject) DESC, f.id
    ), votes AS (
        SELECT version, count(*) AS n, count(*) FILTER (WHERE "right") AS satisfied FROM voted GROUP BY version
    ), asked AS (
        SELECT version, count(*) AS predictions FROM predictions
        WHERE model = :model AND id >= :first AND status < 400 AND kind IN ('arm', 'direct') GROUP BY version
    )
    SELECT version, predictions, coalesce(n, 0), coalesce(satisfied, 0) FROM asked LEFT JOIN votes USING (version)
    ORDER BY version
""")


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


def put(engine: Engine, vote: Feedback) -> Outcome:
    """Keep one person's feedback on a prediction.

    The same again changes nothing; a changed mind keeps what was said first in `first_right`.
    """
    values = {"right": vote.right, "label": vote.label, "comment": vote.comment}
    statement = upsert(t.feedback).values(
        prediction_id=vote.prediction_id,
        model=vote.model,
        subject=vote.subject,
        first_right=vote.right,
        **values,
    )
    now_said = tuple_(*(t.feedback.c[name] for name in values))
    said_anew = tuple_(*(statement.excluded[name] for name in values))
    statement = statement.on_conflict_do_update(
        index_elements=[t.feedback.c.prediction_id, t.feedback.c.subject],
        set_={**values, "changed_at": func.now()},
        where=now_said.is_distinct_from(said_anew),
    )
    with engine.begin() as connection:
        # A row just inserted has no deleting transaction (xmax) yet; one just updated has.
        inserted = connection.execute(statement.returning(literal_column("xmax = 0"))).scalar_one_or_none()
    return "same" if inserted is None else "created" if inserted else "changed"


def summary(engine: Engine, model: str, since: datetime) -> list[Summary]:
    """What people said of each version's answers since `since` (aware).

    Mirrored requests, unseen, do not count, nor do those that asked for a version by name: probes and the curious.
    """
    with engine.connect() as connection:
        rows = connection.execute(_SUMMARY, {"model": model, "since": since, "first": first_id(since)})
        return [Summary(*map(int, row)) for row in rows]
