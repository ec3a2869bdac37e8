"""Users' inputs that may be kept: a row here, the bytes among the blobs, and both of them or neither.

A blob is put before its row is there and deleted before its row is gone. So a row always has its blob, but where a
process was killed while deleting: the row is then still due, and the next run deletes it. A blob without a row is what
a process left that was killed while keeping; it is found by listing. Both happen under a lock of the blob's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, select, text, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.blobs import Blobs, Listed, inputs_folder
from canari.spec import Retention
from canari.store import latecomers
from canari.store import tables as t
from canari.store.latecomers import HashOf

ROOT = "inputs"
_BATCH = 500
_HOLD = text("SELECT pg_advisory_xact_lock(hashtextextended(:folder, 0))")


@dataclass(frozen=True, slots=True)
class KeptInput:
    """One input that is kept until `keep_until`, and what a person made of it (`review`: waiting until then).

    `consented`: whether its sender agreed to that; without it, it is kept because the policy is `always`.
    """

    model: str
    prediction_id: UUID
    version: int
    sha256: str
    subject: str
    media_type: str
    bytes: int
    consented: bool
    keep_until: datetime
    review: str
    label: str | None
    reviewed_by: str | None
    reviewed_at: datetime | None
    created_at: datetime

    @property
    def folder(self) -> str:
        """Where its bytes lie among the blobs, under its SHA-256."""
        return inputs_folder(self.model, self.subject)


@dataclass(frozen=True, slots=True)
class Arrived:
    """An input on its way in."""

    model: str
    prediction_id: UUID
    version: int
    subject: str
    media_type: str
    consented: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deleted input was: of this model, with this digest, of so many bytes."""

    model: str
    sha256: str
    bytes: int


_COLUMNS = tuple(t.inputs.c[field.name] for field in fields(KeptInput))


def keep(
    engine: Engine,
    blobs: Blobs,
    arrived: Arrived,
    content: bytes,
    days: int,
    *,
    hash_of: HashOf,
) -> bool | None:
    """Keep an input for `days` from now; whether it is new, None where its subject was erased since it was sent.

    `hash_of` is how tombstones call a subject.
    """
    folder = inputs_folder(arrived.model, arrived.subject)
    with engine.begin() as connection:
        if latecomers.late(connection, hash_of, [(arrived.prediction_id, arrived.subject)]):
            return None
        connection.execute(_HOLD, {"folder": folder})
        values = {field.name: getattr(arrived, field.name) for field in fields(Arrived)}
        sha256 = blobs.put(folder, content)
        statement = upsert(t.inputs).values(
            **values, sha256=sha256, bytes=len(content), keep_until=func.now() + timedelta(days=days)
        )
        made = connection.execute(statement.on_conflict_do_nothing().returning(t.inputs.c.prediction_id)).first()
    return made is not None


def read(engine: Engine, model: str, prediction_id: UUID) -> KeptInput | None:
    """The input of a prediction; None where none is kept."""
    query = select(*_COLUMNS).where(t.inputs.c.model == model, t.inputs.c.prediction_id == prediction_id)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else KeptInput(*row)


def apply_policy(engine: Engine, model: str, policy: Retention, days: int, *, dry_run: bool) -> dict[str, int]:
    """Have what is kept follow the live policy where that keeps less: returns how many are due now, or sooner.

    Where it keeps more nothing changes: people were told the shorter time.
    """
    i = t.inputs.c
    latest = i.created_at + timedelta(days=days)
    barred = {"never": true(), "consented": ~i.consented, "always": ~true()}[policy]
    due, sooner = and_(barred, i.keep_until > func.now()), and_(~barred, i.keep_until > latest)
    with engine.begin() as connection:
        if dry_run:
            counts = select(func.count().filter(due), func.count().filter(sooner)).where(i.model == model)
            first, second = connection.execute(counts).one()
            return {"due": first, "sooner": second}
        ended = connection.execute(update(t.inputs).where(i.model == model, due).values(keep_until=func.now()))
        cut = connection.execute(update(t.inputs).where(i.model == model, sooner).values(keep_until=latest))
        return {"due": ended.rowcount, "sooner": cut.rowcount}


def models(engine: Engine) -> list[str]:
    """The models of which inputs are kept."""
    with engine.connect() as connection:
        return list(connection.execute(select(t.inputs.c.model).distinct().order_by(t.inputs.c.model)).scalars())


def overdue(engine: Engine) -> dict[str, int]:
    """By model, how many inputs are kept though their time is over."""
    i = t.inputs.c
    query = select(i.model, func.count()).where(i.keep_until <= func.now()).group_by(i.model).order_by(i.model)
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def delete_overdue(engine: Engine, blobs: Blobs, told: Callable[[int], object] = lambda _: None) -> int:
    """Delete what is kept though its time is over; `told` hears how many are gone so far."""
    return _delete(engine, blobs, t.inputs.c.keep_until <= func.now(), told)


def delete_of(connection: Connection, blobs: Blobs, subject: str, before: UUID) -> list[Deleted] | None:
    """Delete a batch of a subject's inputs with ids smaller than `before`, in the caller's transaction.

    None where none is left.
    """
    return _delete_batch(connection, blobs, and_(t.inputs.c.subject == subject, t.inputs.c.prediction_id < before))


def clear(connection: Connection, blobs: Blobs, subject: str) -> None:
    """Delete a subject's folders where no row of theirs is left: what a killed process kept half of goes with them."""
    for model in connection.execute(select(t.models.c.name).order_by(t.models.c.name)).scalars().all():
        connection.execute(_HOLD, {"folder": inputs_folder(model, subject)})
        _drop_empty(connection, blobs, model, subject)


def orphans(engine: Engine, blobs: Blobs, before: datetime) -> list[Listed]:
    """Blobs from before a moment (aware) that no row knows."""
    listed = [blob for blob in blobs.list(ROOT) if blob.since < before]
    with engine.connect() as connection:
        known = _known(connection, {blob.sha256 for blob in listed})
    return [blob for blob in listed if (blob.folder, blob.sha256) not in known]


def delete_orphans(engine: Engine, blobs: Blobs, found: Iterable[Listed]) -> int:
    """Delete blobs that still have no row; returns how many."""
    deleted = 0
    for blob in found:
        with engine.begin() as connection:
            connection.execute(_HOLD, {"folder": blob.folder})
            if (blob.folder, blob.sha256) not in _known(connection, {blob.sha256}):
                blobs.delete(blob.folder, blob.sha256)
                deleted += 1
    return deleted


def _known(connection: Connection, digests: Collection[str], besides: Collection[UUID] = ()) -> set[tuple[str, str]]:
    """The blobs of these digests that rows know, `besides` some predictions' rows."""
    i = t.inputs.c
    query = select(i.model, i.subject, i.sha256).where(i.sha256.in_(digests), i.prediction_id.not_in(besides))
    return {(inputs_folder(model, subject), sha256) for model, subject, sha256 in connection.execute(query.distinct())}


def _delete(engine: Engine, blobs: Blobs, wanted: ColumnElement[bool], told: Callable[[int], object]) -> int:
    deleted = 0
    while True:
        with engine.begin() as connection:
            batch = _delete_batch(connection, blobs, wanted)
        if batch is None:
            return deleted
        deleted += len(batch)
        told(deleted)


def _delete_batch(connection: Connection, blobs: Blobs, wanted: ColumnElement[bool]) -> list[Deleted] | None:
    i = t.inputs.c
    query = select(i.model, i.prediction_id, i.subject, i.sha256).where(wanted).limit(_BATCH)
    rows = connection.execute(query.order_by(i.model, i.prediction_id)).all()
    if not rows:
        return None
    places = {(inputs_folder(row.model, row.subject), row.sha256) for row in rows}
    for folder in sorted({folder for folder, _ in places}):
        connection.execute(_HOLD, {"folder": folder})
    # The same photo sent twice is one blob.
    shared = _known(connection, {row.sha256 for row in rows}, besides=[row.prediction_id for row in rows])
    for folder, sha256 in places - shared:
        blobs.delete(folder, sha256)
    keys = tuple_(i.model, i.prediction_id).in_([(row.model, row.prediction_id) for row in rows])
    deleted = connection.execute(delete(t.inputs).where(keys).returning(i.model, i.sha256, i.bytes)).all()
    for model, subject in {(row.model, row.subject) for row in rows}:
        _drop_empty(connection, blobs, model, subject)
    return [Deleted(*row) for row in deleted]


def _drop_empty(connection: Connection, blobs: Blobs, model: str, subject: str) -> None:
    """Delete a subject's folder where no row of theirs is left. Its lock is held."""
    left = select(func.count()).where(t.inputs.c.model == model, t.inputs.c.subject == subject)
    if connection.execute(left).scalar_one() == 0:
        blobs.delete_folder(inputs_folder(model, subject))
