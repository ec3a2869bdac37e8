"""Jobs that the clock or a person wants done: one row for each, worked on until it is over, whoever works on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine

from canari.schedule import newest_due, window_key
from canari.store import jobs
from canari.store.jobs import Job
from canari.types import JobKind, JobState
from services.jobs.asking import Tell
from services.jobs.progress import Report
from services.jobs.running import LEASE, Work, holder, run

_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job before it is asked for. The same key is the same job, however often it is wanted."""

    kind: JobKind
    key: str
    reason: str
    asked_by: str
    model: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def by_schedule(kind: JobKind, schedule: str, now: datetime) -> Wanted:
    """What a schedule wants done at `now`: its newest window, for missed ones collapse into that."""
    window = newest_due(schedule, now)
    reason = f"due at {window:%Y-%m-%d %H:%M} UTC by the schedule {schedule!r}"
    return Wanted(kind, window_key(kind, window), reason, "schedule", arguments={"until": window.isoformat()})


def by_hand(kind: JobKind, model: str | None = None, arguments: Mapping[str, Any] | None = None) -> Wanted:
    """What a person at a terminal wants done, now."""
    key = ":".join([kind, *([model] if model else []), "hand", uuid4().hex])
    return Wanted(kind, key, "asked for by hand", "terminal", model, arguments or {})


def do(engine: Engine, wanted: Wanted, work: Work, report: Report, tell: Tell) -> Job:
    """Ask for a job, and work on it and on all of its kind that wait, until it is over; returns it as it ended.

    Where it fails it is tried again in a while. Where another runner holds it, that one is waited for until it is
    clear that it lives: the job is then returned as running.
    """
    job, _ = jobs.ask(
        engine,
        wanted.kind,
        wanted.key,
        model=wanted.model,
        asked_by=wanted.asked_by,
        reason=wanted.reason,
        arguments=wanted.arguments,
    )
    seen, told = job.lease_until, ""
    while True:
        do_waiting(engine, wanted.kind, work, report)
        found = jobs.read(engine, job.id)
        if found is None:
            return job
        job = found
        lives = job.state is JobState.RUNNING and seen is not None and job.lease_until != seen
        if job.over or lives:
            return job
        seen = job.lease_until
        if told != (told := _awaited(job)):
            tell(told)
        time.sleep(_POLL_SECONDS)


def do_waiting(engine: Engine, kind: JobKind, work: Work, report: Report) -> None:
    """Work on every job of a kind that waits, one after the other, whoever asked for it."""
    runner = holder()
    while (taken := jobs.take(engine, kind, holder=runner, lease=LEASE)) is not None:
        run(engine, taken, work, report)


def _awaited(job: Job) -> str:
    if job.state is JobState.RUNNING:
        return f"job {job.id} ({job.key}) is held by {job.holder}: waiting to see whether that lives"
    if job.error is not None:
        return f"job {job.id} ({job.key}) went wrong: {job.error}; it is tried again at {job.not_before:%H:%M:%S} UTC"
    return f"job {job.id} ({job.key}) waits until another of its kind has ended"
