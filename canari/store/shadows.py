"""What a rollout's shadow answered otherwise than the stable version, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, select, text

from canari.ids import first_id, moment_of
from canari.store import rollout_rows as rows
from canari.store import tables as t
from canari.store.cohorts import APART, PAIRS, Cohort
from canari.store.decisions import of_rollout
from canari.types import RequestKind, Rollout

# So many copies, the newest, are looked through: a fraction of a second's work, however long the shadow lasted.
MOST_COPIES = 50_000
# After its step the shadow gets copies until every proxy follows.
_FOLLOWING = timedelta(minutes=1)
_OTHERWISE = text(f"""
    WITH {PAIRS} SELECT * FROM copies WHERE label <> answer_label ORDER BY answer DESC LIMIT :most
""")  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Said:
    """A version's answer to a request."""

    prediction_id: UUID
    label: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A request that the shadow answered otherwise than stable; `input_sha256` is that of its first input, if kept."""

    request_id: str
    made_at: datetime
    stable: Said
    shadow: Said
    input_sha256: str | None


def disagreements(engine: Engine, model: str, number: int, *, last: int = 20) -> list[Disagreement]:
    """The newest `last` among a rollout's newest MOST_COPIES mirrored requests, newest first.

    Raises CanariError where the model has no rollout of that number.
    """
    with engine.connect() as connection:
        span = _span(connection, rows.read(connection, number, model))
        if span is None:
            return []
        found = connection.execute(_OTHERWISE, {**span.copied(), "most": last})
        return [
            Disagreement(
                request_id=row.request_id,
                made_at=moment_of(row.answer),
                stable=Said(row.answer, row.answer_label, row.answer_score),
                shadow=Said(row.id, row.label, row.score),
                input_sha256=row.answer_sha256,
            )
            for row in found
        ]


def _span(connection: Connection, rollout: Rollout) -> Cohort | None:
    """The requests of the time in which the shadow got the newest MOST_COPIES; None where there was no shadow."""
    rules = rows.rules_of(connection, rollout)
    if rollout.stable is None or rules is None or rules.steps[0] != "shadow":
        return None
    advanced = (made.created_at for made in of_rollout(connection, rollout.id) if made.action == "advance")
    ended = next(advanced, rollout.settled_at or datetime.now(UTC)) + _FOLLOWING
    p = t.predictions.c
    oldest = (
        select(p.id)
        .where(p.model == rollout.model, p.version == rollout.canary, p.kind == RequestKind.SHADOW)
        .where(p.rollout == rollout.id, p.id >= first_id(rollout.created_at), p.id < first_id(ended))
        .order_by(p.id.desc())
        .offset(MOST_COPIES - 1)
        .limit(1)
    )
    first = connection.execute(oldest).scalar_one_or_none()
    began = rollout.created_at if first is None else moment_of(first) - APART
    return Cohort(rollout.model, rollout.id, (rollout.stable, rollout.canary), began, ended, timedelta())
