"""What the judge knows of each rollout, so that another one continues, and what it last said, so that people see it.

Both follow from the evidence: they save whoever asks from reading all of it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects.postgresql import insert

from canari.store import tables as t


@dataclass(frozen=True, slots=True)
class Kept:
    """The judge's memory of a rollout (`state`), and its newest judgement, as JSON values; None to leave that be."""

    state: Mapping[str, Any]
    judgement: Mapping[str, Any] | None


def keep(engine: Engine, kept: Mapping[int, Kept]) -> None:
    """Replace what is kept, by rollout."""
    if not kept:
        return
    rows = [{"rollout": rollout, "state": one.state, "judgement": one.judgement} for rollout, one in kept.items()]
    statement = insert(t.judge_state).values(rows)
    changed = {
        "state": statement.excluded.state,
        "judgement": func.coalesce(statement.excluded.judgement, t.judge_state.c.judgement),
        "saved_at": func.now(),
    }
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["rollout"], set_=changed))


def kept(engine: Engine, rollout: int) -> Kept | None:
    """What is kept of a rollout; None before it was judged for the first time."""
    query = select(t.judge_state.c.state, t.judge_state.c.judgement).where(t.judge_state.c.rollout == rollout)
    with engine.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else Kept(row.state, row.judgement)


def judgement(connection: Connection, rollout: int) -> Mapping[str, Any] | None:
    """The newest judgement of a rollout; None before it was judged for the first time."""
    query = select(t.judge_state.c.judgement).where(t.judge_state.c.rollout == rollout)
    return connection.execute(query).scalar_one_or_none()
