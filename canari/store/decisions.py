"""Decisions about rollouts, as those read them who tell of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, select, true

from canari.store import tables as t
from canari.types import RolloutState


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of version `canary` of a model: its percent of the traffic from then on, why, and who said so.

    `verdict` holds the figures it was made on, by metric, and `evidence_tick` (epoch ms) how far the evidence reached;
    `code_version` is the release that decided.
    """

    id: int
    model: str
    canary: int
    action: str
    weight: int
    reason: str
    actor: str
    created_at: datetime
    evidence_tick: int | None = None
    verdict: Mapping[str, Any] | None = None
    code_version: str = ""


_TOLD = tuple(t.decisions.c[field.name] for field in fields(Decision) if field.name in t.decisions.c)


def recent(engine: Engine, models: Collection[str], *, since: datetime, after: int = 0) -> list[Decision]:
    """The decisions of `models` since a moment, whose ids are over `after`; oldest first."""
    with engine.connect() as connection:
        return _read(
            connection,
            t.decisions.c.id > after,
            t.decisions.c.created_at >= since,
            t.rollouts.c.model.in_(models),
        )


def of_rollout(connection: Connection, rollout: int) -> list[Decision]:
    """The decisions about one rollout, oldest first."""
    return _read(connection, t.rollouts.c.id == rollout)


def newest(engine: Engine) -> dict[str, Decision]:
    """Each model's last decision: of its open rollout, else of the one that ended last. Models without are left out."""
    ended = (RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.ABORTED)
    rollout = (
        select(t.rollouts.c.id, t.rollouts.c.model, t.rollouts.c.canary)
        .where(t.rollouts.c.model == t.models.c.name, t.rollouts.c.state.in_((RolloutState.OPEN, *ended)))
        .order_by(
            (t.rollouts.c.state == RolloutState.OPEN).desc(), t.rollouts.c.settled_at.desc(), t.rollouts.c.id.desc()
        )
        .limit(1)
        .lateral("rollout")
    )
    decision = (
        select(*_TOLD)
        .where(t.decisions.c.rollout == rollout.c.id)
        .order_by(t.decisions.c.id.desc())
        .limit(1)
        .lateral("decision")
    )
    joined = t.models.join(rollout, true()).join(decision, true())
    query = select(decision, rollout.c.model, rollout.c.canary).select_from(joined)
    with engine.connect() as connection:
        return {row["model"]: Decision(**row) for row in connection.execute(query).mappings()}


def _read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Decision]:
    query = (
        select(*_TOLD, t.rollouts.c.model, t.rollouts.c.canary)
        .join(t.rollouts, t.rollouts.c.id == t.decisions.c.rollout)
        .where(*conditions)
        .order_by(t.decisions.c.id)
    )
    return [Decision(**row) for row in connection.execute(query).mappings()]
