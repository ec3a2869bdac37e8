"""Decisions about rollouts, as those read them who tell of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select, true

from canari.store import tables as t


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of version `canary` of a model: its percent of the traffic from then on, why, and who said so."""

    id: int
    model: str
    canary: int
    action: str
    weight: int
    reason: str
    actor: str
    created_at: datetime


def recent(engine: Engine, models: Collection[str], *, since: datetime, after: int = 0) -> list[Decision]:
    """The decisions of `models` since a moment, whose ids are over `after`; oldest first."""
    query = (
        select(t.decisions, t.rollouts.c.model, t.rollouts.c.canary)
        .join(t.rollouts, t.rollouts.c.id == t.decisions.c.rollout)
        .where(t.decisions.c.id > after, t.decisions.c.created_at >= since, t.rollouts.c.model.in_(models))
        .order_by(t.decisions.c.id)
    )
    with engine.connect() as connection:
        return [
            Decision(row.id, row.model, row.canary, row.action, row.weight, row.reason, row.actor, row.created_at)
            for row in connection.execute(query)
        ]


def newest(engine: Engine) -> dict[str, str]:
    """The action of each model's last decision, by model; a model nothing was decided of is left out."""
    rollout = (
        select(t.rollouts.c.id)
        .where(t.rollouts.c.model == t.models.c.name)
        .order_by(t.rollouts.c.id.desc())
        .limit(1)
        .lateral("rollout")
    )
    decision = (
        select(t.decisions.c.action)
        .where(t.decisions.c.rollout == rollout.c.id)
        .order_by(t.decisions.c.id.desc())
        .limit(1)
        .lateral("decision")
    )
    joined = t.models.join(rollout, true()).join(decision, true())
    query = select(t.models.c.name, decision.c.action).select_from(joined)
    with engine.connect() as connection:
        return {row.name: row.action for row in connection.execute(query)}
