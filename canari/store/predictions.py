"""Predictions: taken in by the batch, looked up one by one and by the page."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, and_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from canari.store import latecomers
from canari.store import tables as t
from canari.store.latecomers import HashOf
from canari.types import Prediction, RequestKind

_COLUMNS = tuple(field.name for field in fields(Prediction))
_NAMES = ", ".join(_COLUMNS)
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

# The table lives as long as the connection and empties itself at each commit. "If not exists" rather than a memory of
# having made it: a transaction that was rolled back took the table with it.
_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS staged_predictions (LIKE predictions INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
)
_COPY = f"COPY staged_predictions (model, version, {_NAMES}) FROM STDIN"
_RECORDER_COUNTS = "received = recorders.received + excluded.received, seen_at = now()"
# A bento can name any recorder in its rows; the last WHERE keeps it from touching another version's count.
_INSERT = text(f"""
    WITH inserted AS (
        INSERT INTO predictions (model, version, {_NAMES})
        SELECT model, version, {_NAMES} FROM staged_predictions ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING recorder, seq
    ), counted AS (
        INSERT INTO recorders (id, model, version, received, highest)
        SELECT recorder, :model, :version, count(*), max(seq) FROM inserted GROUP BY recorder ORDER BY recorder
        ON CONFLICT (id) DO UPDATE
        SET highest = greatest(recorders.highest, excluded.highest), {_RECORDER_COUNTS}
        WHERE recorders.model = excluded.model AND recorders.version = excluded.version
    )
    SELECT count(*) FROM inserted
""")  # noqa: S608 - the names are the dataclass's own


@dataclass(frozen=True, slots=True)
class Recorded:
    """A prediction as it is kept: with the model and version that made it."""

    model: str
    version: int
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's feedback on a prediction, as it stands now."""

    subject: str
    right: bool
    label: str | None
    comment: str | None
    created_at: datetime
    changed_at: datetime


def append(
    engine: Engine, model: str, version: int, rows: Sequence[Prediction], *, hash_of: HashOf | None = None
) -> tuple[int, int]:
    """Keep the predictions of a version; returns how many were new and how many were there already.

    With `hash_of` (how tombstones call a subject) those of erased subjects stay out. All or nothing: raises
    psycopg2.DataError where PostgreSQL cannot hold a value of one of the rows.
    """
    if not rows:
        return 0, 0
    head = f"{_copy_text(model)}\t{version}\t"
    with engine.begin() as connection:
        if hash_of is not None:
            rows = latecomers.sift(connection, hash_of, model, version, rows)
        lines = (head + "\t".join(_copy_text(getattr(row, name)) for name in _COLUMNS) for row in rows)
        connection.execute(text(_STAGE))
        psycopg2_connection: Any = connection.connection.dbapi_connection
        with psycopg2_connection.cursor() as cursor:
            cursor.copy_expert(_COPY, io.StringIO("\n".join(lines)))
        inserted = int(connection.execute(_INSERT, {"model": model, "version": version}).scalar_one())
    return inserted, len(rows) - inserted


def losses(engine: Engine, model: str) -> dict[int, int]:
    """How many predictions of each version were made and never arrived: the holes in its recorders' counts."""
    lost = func.sum(t.recorders.c.highest - t.recorders.c.received)
    query = select(t.recorders.c.version, lost).where(t.recorders.c.model == model).group_by(t.recorders.c.version)
    with engine.connect() as connection:
        return {int(version): int(holes) for version, holes in connection.execute(query)}


def get(engine: Engine, model: str, prediction_id: UUID) -> tuple[Recorded, list[Vote]] | None:
    """A model's prediction and what people said of it, first vote first; None where it has not arrived."""
    votes = {f"vote_{c.name}": c for c in t.feedback.c}
    query = (
        select(t.predictions, *(column.label(name) for name, column in votes.items()))
        .outerjoin(
            t.feedback,
            and_(t.feedback.c.prediction_id == t.predictions.c.id, t.feedback.c.model == t.predictions.c.model),
        )
        .where(t.predictions.c.id == prediction_id, t.predictions.c.model == model)
        .order_by(t.feedback.c.id)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    if not rows:
        return None
    names = [field.name for field in fields(Vote)]
    said = [Vote(**{name: row[f"vote_{name}"] for name in names}) for row in rows if row["vote_id"] is not None]
    return _recorded(rows[0]), said


def model_of(engine: Engine, prediction_id: UUID) -> str | None:
    """The model that made a prediction; None where the prediction has not arrived."""
    query = select(t.predictions.c.model).where(t.predictions.c.id == prediction_id)
    with engine.connect() as connection:
        return connection.execute(query).scalar_one_or_none()


def page(
    engine: Engine,
    model: str,
    *,
    before: UUID | None = None,
    limit: int = 50,
    version: int | None = None,
    subject: str | None = None,
) -> list[Recorded]:
    """A model's newest predictions made before the prediction `before`, newest first."""
    query = select(t.predictions).where(t.predictions.c.model == model)
    if before is not None:
        query = query.where(t.predictions.c.id < bindparam("before", before, PG_UUID))
    if version is not None:
        query = query.where(t.predictions.c.version == version)
    if subject is not None:
        query = query.where(t.predictions.c.subject == subject)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(t.predictions.c.id.desc()).limit(limit)).mappings()
        return [_recorded(row) for row in rows]


def _copy_text(value: object) -> str:
    """A value in COPY's text format, https://www.postgresql.org/docs/current/sql-copy.html."""
    if value is None:
        return "\\N"
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        value = f"{{{','.join(map(str, value))}}}"
    return str(value).translate(_ESCAPES)


def _recorded(row: Mapping[Any, Any]) -> Recorded:
    values = {name: row[name] for name in _COLUMNS}
    bins = None if values["bins"] is None else tuple(values["bins"])
    changed = {"kind": RequestKind(values["kind"]), "bins": bins}
    return Recorded(row["model"], row["version"], Prediction(**{**values, **changed}))
