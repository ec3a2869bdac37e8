"""How the loop stands, in a few numbers: its jobs, what waits for people, and what is kept for too long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, text

from canari.types import JobKind

# What is due is deleted once a day, so that it may be a little late.
_OVERDUE = timedelta(hours=26)

_JOBS = text("""
    SELECT kind,
           extract(epoch FROM max(ended_at) FILTER (WHERE state IN ('done', 'refused')))::float8 AS succeeded_at,
           count(*) FILTER (WHERE state = 'queued') AS queued,
           count(*) FILTER (WHERE state = 'running') AS running,
           count(*) FILTER (WHERE state = 'failed' AND ended_at > now() - interval '1 day') AS failed,
           coalesce(extract(epoch FROM now() - min(started_at) FILTER (WHERE state = 'running')), 0)::float8 AS seconds
    FROM jobs GROUP BY kind
""")
_WAITING = text("""
    SELECT model, count(*) AS n FROM inputs
    WHERE review = 'waiting' AND consented AND keep_until > now() GROUP BY model
""")
_KEPT = text("""
    SELECT (SELECT count(*) FROM inputs WHERE keep_until < now() - :late) AS overdue,
           (SELECT count(*) FROM erasures WHERE done_at IS NULL) AS erasures
""")


@dataclass(frozen=True, slots=True)
class JobsOfKind:
    """The jobs of a kind: how many stand where (failed: within a day), and since when (s) the oldest one runs.

    `succeeded_at` is when the last one ended well, having done its work or found none to do; seconds since 1970.
    """

    succeeded_at: float | None = None
    queued: int = 0
    running: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """`waiting` inputs by model are to be looked at; `overdue` ones ought to be gone; `erasures` are not done yet."""

    jobs: Mapping[JobKind, JobsOfKind]
    waiting: Mapping[str, int]
    overdue: int
    erasures: int


def read(engine: Engine) -> Standing:
    """How everything stands now; every kind of job is there, also one that never ran."""
    with engine.connect() as connection:
        rows = {row["kind"]: row for row in connection.execute(_JOBS).mappings()}
        waiting = {row.model: int(row.n) for row in connection.execute(_WAITING)}
        kept = connection.execute(_KEPT, {"late": _OVERDUE}).one()
    names = JobsOfKind.__dataclass_fields__
    jobs = {kind: JobsOfKind(**{n: rows[kind][n] for n in names}) if kind in rows else JobsOfKind() for kind in JobKind}
    return Standing(jobs, waiting, int(kept.overdue), int(kept.erasures))
