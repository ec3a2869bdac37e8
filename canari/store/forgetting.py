"""Rows that nobody needs once they are old: ended jobs, and tokens that expired long ago."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, Engine, Table, and_, delete, func, select

from canari.store import tables as t


def old_jobs(engine: Engine, age: timedelta, *, dry_run: bool) -> int:
    """Delete jobs that ended longer ago, or with `dry_run` count them; each kind and model keeps its newest.

    A trigger whose key is still looked for (the newest window, the newest training) so stays answered.
    """
    j, later = t.jobs.c, t.jobs.alias()
    newer = (
        select(later.c.id)
        .where(later.c.kind == j.kind, later.c.model.is_not_distinct_from(j.model), later.c.id > j.id)
        .correlate(t.jobs)
        .exists()
    )
    return _drop(engine, t.jobs, and_(j.ended_at < func.now() - age, newer), dry_run=dry_run)


def old_tokens(engine: Engine, age: timedelta, *, dry_run: bool) -> int:
    """Delete tokens that expired longer ago, or with `dry_run` count them."""
    return _drop(engine, t.tokens, t.tokens.c.expires_at < func.now() - age, dry_run=dry_run)


def _drop(engine: Engine, table: Table, old: ColumnElement[bool], *, dry_run: bool) -> int:
    with engine.begin() as connection:
        if dry_run:
            return int(connection.execute(select(func.count()).select_from(table).where(old)).scalar_one())
        return connection.execute(delete(table).where(old)).rowcount
