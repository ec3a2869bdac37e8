"""Users' inputs that wait for a person's word: with what was answered, what was said of it, and how many there are.

Only inputs whose sender agreed that they are kept, and only while they may be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Engine, Row, bindparam, select, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from canari.store import samples
from canari.store import tables as t
from canari.store.inputs import KeptInput
from canari.store.predictions import Vote
from canari.types import Origin, Review

_INPUT = tuple(field.name for field in fields(KeptInput))
_VOTE = tuple(field.name for field in fields(Vote))
_OPEN = "i.model = :model AND i.consented AND i.keep_until > now()"
_ANSWER = "LEFT JOIN predictions p ON p.id = i.prediction_id AND p.model = i.model"
# What nobody called wrong, and what has no answer yet, have a place in the order too.
_RIGHT = """NOT EXISTS (
    SELECT FROM feedback f WHERE f.prediction_id = i.prediction_id AND f.model = i.model AND NOT f."right")"""
_PAGE = f"""
    SELECT * FROM (
        SELECT {", ".join(f"i.{name}" for name in _INPUT)},
            p.label AS answer, p.score, p.scores, {_RIGHT} AS unopposed, coalesce(p.score, 0)::float8 AS certainty
        FROM inputs i {_ANSWER}
        WHERE {_OPEN} AND i.review = :review
    ) AS queue
    {{after}}
    ORDER BY unopposed, certainty, prediction_id
    LIMIT :limit
"""  # noqa: S608 - our own names
_AFTER = "WHERE (unopposed, certainty, prediction_id) > (:unopposed, CAST(:certainty AS float8), :prediction_id)"
_STATES = text(f"SELECT i.review, count(*) FROM inputs i WHERE {_OPEN} GROUP BY i.review")  # noqa: S608
_LABELS = text(f"""
    SELECT p.label, count(*) AS n FROM inputs i {_ANSWER} WHERE {_OPEN} AND i.review = 'waiting' GROUP BY p.label
""")  # noqa: S608
_LEARNED_FROM = {Origin.TEAM, Origin.CURATED}


class Place(NamedTuple):
    """Where a page ends: the place of its last input in the queue's order."""

    unopposed: bool
    certainty: float
    prediction_id: UUID


@dataclass(frozen=True, slots=True)
class Queued:
    """A kept input, what a version answered (None where that has not arrived), and what people said of it."""

    input: KeptInput
    answer: str | None
    score: float | None
    scores: Mapping[str, float]
    votes: Sequence[Vote]
    place: Place


@dataclass(frozen=True, slots=True)
class Counts:
    """How many inputs there are by what was made of them, and by label how many wait and how many samples there are.

    A waiting input counts for the label that was answered; samples are those that may be learned from.
    """

    states: Mapping[Review, int]
    waiting: Mapping[str | None, int]
    samples: Mapping[str, int]


def page(
    engine: Engine, model: str, *, review: Review = Review.WAITING, after: Place | None = None, limit: int = 20
) -> list[Queued]:
    """Inputs in the order in which a person's word is worth most: called wrong by somebody, then the least certain."""
    query = text(_PAGE.format(after=_AFTER if after else "")).bindparams(limit=limit)
    if after is not None:
        identifier = bindparam("prediction_id", after.prediction_id, PG_UUID)
        query = query.bindparams(identifier, unopposed=after.unopposed, certainty=after.certainty)
    with engine.connect() as connection:
        rows = connection.execute(query, {"model": model, "review": review}).all()
        f = t.feedback.c
        found = connection.execute(
            select(t.feedback)
            .where(f.model == model, f.prediction_id.in_([row.prediction_id for row in rows]))
            .order_by(f.id)
        ).all()
    votes: dict[UUID, list[Vote]] = {}
    for vote in found:
        votes.setdefault(vote.prediction_id, []).append(Vote(**{name: getattr(vote, name) for name in _VOTE}))
    return [_queued(row, votes.get(row.prediction_id, ())) for row in rows]


def counts(engine: Engine, model: str) -> Counts:
    """How many of a model's inputs wait and were looked at, and how many samples each label has."""
    with engine.connect() as connection:
        states = {Review(state): n for state, n in connection.execute(_STATES, {"model": model})}
        waiting = {row.label: row.n for row in connection.execute(_LABELS, {"model": model})}
    learned: dict[str, int] = {}
    for one in samples.counts(engine, model):
        if not one.evaluation and not one.synthetic and one.origin in _LEARNED_FROM:
            learned[one.label] = learned.get(one.label, 0) + one.n
    return Counts({state: states.get(state, 0) for state in Review}, waiting, learned)


def guess(labels: Collection[str], answer: str | None, scores: Mapping[str, float] | None) -> str | None:
    """The label that an answer stands for: the best one, also where the model was not certain enough to say it."""
    known = {label: score for label, score in (scores or {}).items() if label in labels}
    return answer if answer in labels else max(known, key=lambda label: known[label], default=None)


def _queued(row: Row[Any], votes: Sequence[Vote]) -> Queued:
    return Queued(
        input=KeptInput(*(getattr(row, name) for name in _INPUT)),
        answer=row.answer,
        score=row.score,
        scores=row.scores or {},
        votes=votes,
        place=Place(row.unopposed, row.certainty, row.prediction_id),
    )
