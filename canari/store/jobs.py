"""Jobs: asked for under a key, held by one runner at a time, and told of to the end.

A job is asked for once per key, however often its trigger is looked at. Whoever takes it holds a lease and renews it;
where the lease runs out, the next runner takes the job over and finds what the dead one had written down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from canari.errors import CanariError
from canari.store import tables as t
from canari.types import JobKind, JobState

MOST_ATTEMPTS = 3
_FIRST_WAIT = timedelta(minutes=1)
_PLACE = ("stage", "done", "total", "figures")
_OVER = (JobState.DONE, JobState.REFUSED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. `progress` is what its runner last wrote down, `result` what came of it, as JSON values."""

    id: int
    kind: JobKind
    model: str | None
    key: str
    state: JobState
    asked_by: str
    reason: str
    arguments: Mapping[str, Any]
    attempts: int
    holder: str | None
    lease_until: datetime | None
    not_before: datetime
    progress: Mapping[str, Any]
    result: Mapping[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in _OVER

    @property
    def place(self) -> Mapping[str, Any] | None:
        """How far its runner last said it is: stage, done, total, figures; None where it has not said."""
        return {name: self.progress[name] for name in _PLACE} if "stage" in self.progress else None


_COLUMNS = tuple(t.jobs.c[field.name] for field in fields(Job))


class LeaseLostError(CanariError):
    """Another runner holds the job by now: this one must stop, and write nothing more."""


def ask(
    engine: Engine,
    kind: JobKind,
    key: str,
    *,
    model: str | None,
    asked_by: str,
    reason: str,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[Job, bool]:
    """Ask for a job; returns it, and whether it is new. One that was asked for under this key before stays as it is."""
    values = {
        "kind": kind,
        "key": key,
        "model": model,
        "asked_by": asked_by,
        "reason": reason,
        "arguments": dict(arguments or {}),
    }
    with engine.begin() as connection:
        made = connection.execute(
            upsert(t.jobs).values(values).on_conflict_do_nothing().returning(*_COLUMNS)
        ).mappings().one_or_none()  # fmt: skip
        if made is not None:
            return _job(made), True
        known = connection.execute(select(*_COLUMNS).where(t.jobs.c.key == key)).mappings().one()
        return _job(known), False


def take(engine: Engine, kind: JobKind, *, holder: str, lease: timedelta, model: str | None = None) -> Job | None:
    """Hold the oldest job of a kind that waits or whose runner died; None where there is none.

    One job of a kind runs at a time per model. `model`: this model's alone.
    """
    j, other = t.jobs.c, t.jobs.alias()
    now = func.now()
    busy = (
        select(text("1"))
        .select_from(other)
        .where(
            other.c.kind == kind,
            other.c.state == JobState.RUNNING,
            other.c.id != j.id,
            func.coalesce(other.c.model, "") == func.coalesce(j.model, ""),
        )
        .exists()
    )
    chosen = select(j.id).where(j.kind == kind, _takeable(), ~busy)
    if model is not None:
        chosen = chosen.where(j.model == model)
    chosen = chosen.order_by(j.id).limit(1).with_for_update(skip_locked=True)
    statement = (
        update(t.jobs)
        .where(j.id == chosen.scalar_subquery())
        .values(
            state=JobState.RUNNING,
            holder=holder,
            lease_until=now + lease,
            attempts=j.attempts + 1,
            started_at=func.coalesce(j.started_at, now),
            error=None,
        )
        .returning(*_COLUMNS)
    )
    try:
        with engine.begin() as connection:
            row = connection.execute(statement).mappings().one_or_none()
    except IntegrityError:
        # Another runner took this model's other job at the same moment.
        return None
    return None if row is None else _job(row)


def renew(engine: Engine, job: Job, *, lease: timedelta, progress: Mapping[str, Any] | None = None) -> None:
    """Go on holding a job, and write down how far it is; raises LeaseLostError where somebody else holds it."""
    values: dict[str, Any] = {"lease_until": func.now() + lease}
    if progress is not None:
        values["progress"] = dict(progress)
    _write(engine, job, values)


def finish(engine: Engine, job: Job, state: JobState, *, result: Mapping[str, Any], error: str | None = None) -> None:
    """End a job as done, refused or failed; raises LeaseLostError where somebody else holds it."""
    _write(
        engine,
        job,
        {"state": state, "result": dict(result), "error": error, "ended_at": func.now(), **_RELEASED},
    )


def fail(engine: Engine, job: Job, error: str) -> JobState:
    """A run went wrong: the job waits and is tried again, until its third attempt; returns its state from now on."""
    if job.attempts >= MOST_ATTEMPTS:
        finish(engine, job, JobState.FAILED, result=job.result, error=error)
        return JobState.FAILED
    wait = _FIRST_WAIT * 2 ** (job.attempts - 1)
    values = {"state": JobState.QUEUED, "error": error, "not_before": func.now() + wait, **_RELEASED}
    _write(engine, job, values)
    return JobState.QUEUED


def release(engine: Engine, job: Job) -> None:
    """Give a job back as if it had not been taken: its runner was told to end. Raises LeaseLostError."""
    values = {"state": JobState.QUEUED, "not_before": func.now(), "attempts": t.jobs.c.attempts - 1, **_RELEASED}
    _write(engine, job, values)


def touch(engine: Engine, kind: JobKind, key: str, *, asked_by: str, reason: str) -> None:
    """Keep one row that says when something was last looked at, and found what: a job that is done each time anew."""
    now = func.now()
    told = {"reason": reason, "state": JobState.DONE, "started_at": now, "ended_at": now}
    row = {"kind": kind, "key": key, "asked_by": asked_by, **told}
    with engine.begin() as connection:
        known = connection.execute(update(t.jobs).where(t.jobs.c.key == key).values(told))
        if known.rowcount == 0:
            connection.execute(upsert(t.jobs).values(row).on_conflict_do_update(index_elements=["key"], set_=told))


def read(engine: Engine, number: int) -> Job | None:
    """The job of a number; None where there is none."""
    with engine.connect() as connection:
        row = connection.execute(select(*_COLUMNS).where(t.jobs.c.id == number)).mappings().one_or_none()
    return None if row is None else _job(row)


def of_keys(engine: Engine, keys: Collection[str]) -> dict[str, Job]:
    """Those of these keys that were asked for, by key."""
    query = select(*_COLUMNS).where(t.jobs.c.key.in_(keys))
    with engine.connect() as connection:
        return {job.key: job for job in map(_job, connection.execute(query).mappings())}


def newest(
    engine: Engine,
    *,
    kind: JobKind | None = None,
    model: str | None = None,
    everyones: bool = False,
    state: JobState | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Job]:
    """Jobs, newest first; `before`: only those with smaller numbers; `everyones`: beside a model's those of all."""
    query = select(*_COLUMNS).order_by(t.jobs.c.id.desc()).limit(limit)
    for column, value in ((t.jobs.c.kind, kind), (t.jobs.c.state, state)):
        if value is not None:
            query = query.where(column == value)
    if model is not None:
        own = t.jobs.c.model == model
        query = query.where(or_(own, t.jobs.c.model.is_(None)) if everyones else own)
    if before is not None:
        query = query.where(t.jobs.c.id < before)
    with engine.connect() as connection:
        return [_job(row) for row in connection.execute(query).mappings()]


def waiting(engine: Engine) -> set[JobKind]:
    """The kinds of which a job could be taken now."""
    j = t.jobs.c
    query = select(j.kind).where(j.state.in_((JobState.QUEUED, JobState.RUNNING)), _takeable()).distinct()
    with engine.connect() as connection:
        return {JobKind(kind) for (kind,) in connection.execute(query)}


def _takeable() -> ColumnElement[bool]:
    """Which jobs wait, or have lost their runner."""
    j, now = t.jobs.c, func.now()
    return or_(
        and_(j.state == JobState.QUEUED, j.not_before <= now),
        and_(j.state == JobState.RUNNING, j.lease_until < now),
    )


_RELEASED: Mapping[str, Any] = {"holder": None, "lease_until": None}


def _write(engine: Engine, job: Job, values: Mapping[str, Any]) -> None:
    statement = (
        update(t.jobs)
        .where(t.jobs.c.id == job.id, t.jobs.c.state == JobState.RUNNING, t.jobs.c.holder == job.holder)
        .where(t.jobs.c.attempts == job.attempts)
        .values(**values)
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            raise LeaseLostError(f"job {job.id} ({job.key}) is held by another runner: this one stops")


def _job(row: Mapping[Any, Any]) -> Job:
    values = {field.name: row[field.name] for field in fields(Job)}
    return Job(**{**values, "kind": JobKind(values["kind"]), "state": JobState(values["state"])})
