"""Rollouts as people look at them: which there were, and all that is known of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select

from canari.policy import Expectation, expected_duration
from canari.spec_canary import Canary
from canari.store import hours, judgements
from canari.store import rollout_rows as rows
from canari.store import tables as t
from canari.store.decisions import Decision, of_rollout
from canari.types import Rollout, RolloutState


@dataclass(frozen=True, slots=True)
class Total:
    """What was counted of a metric on an arm while a step lasted: `bad` of `n` outcomes."""

    step: int
    version: int
    metric: str
    n: int
    bad: int


@dataclass(frozen=True, slots=True)
class Detail:
    """A rollout, its decisions from first to last, its evidence, and what was last said of it.

    `rules` are those it is judged by, or will be where it is queued; None where it is steered by hand.
    """

    rollout: Rollout
    rules: Canary | None
    decisions: list[Decision]
    evidence: list[Total]
    judgement: Mapping[str, Any] | None = None

    @property
    def pending(self) -> Canary | None:
        """The rules, where a verdict is still to come."""
        return self.rules if self.rollout.state in {RolloutState.OPEN, RolloutState.QUEUED} else None


def listed(
    engine: Engine, model: str, *, last: int = 50, states: Collection[RolloutState] = (), version: int | None = None
) -> list[Rollout]:
    """A model's newest rollouts, newest first: of these states, if any is named, and of this canary."""
    query = (
        select(t.rollouts).where(*rows.matching(model, states, version)).order_by(t.rollouts.c.id.desc()).limit(last)
    )
    with engine.connect() as connection:
        return [rows.rollout_of(row) for row in connection.execute(query).mappings()]


def rollout(engine: Engine, number: int) -> Rollout:
    """A rollout; raises CanariError where there is none of that number."""
    with engine.connect() as connection:
        return rows.read(connection, number)


def rules(engine: Engine, rollout: Rollout) -> Canary:
    """What the specification of a judged rollout says of it."""
    with engine.connect() as connection:
        return rows.canary_of(connection, rollout)


def detail(engine: Engine, model: str, number: int) -> Detail:
    """All that is known of a rollout of a model; raises CanariError where there is none of that number."""
    counted = (
        select(*(t.evidence.c[name] for name in ("step", "version", "metric")))
        .add_columns(func.sum(t.evidence.c.n), func.sum(t.evidence.c.bad))
        .where(t.evidence.c.rollout == number)
        .group_by(t.evidence.c.step, t.evidence.c.version, t.evidence.c.metric)
        .order_by(t.evidence.c.metric, t.evidence.c.step, t.evidence.c.version)
    )
    with engine.connect() as connection:
        rollout = rows.read(connection, number, model)
        return Detail(
            rollout=rollout,
            rules=rows.rules_of(connection, rollout),
            decisions=of_rollout(connection, number),
            evidence=[
                Total(step, version, metric, int(n), int(bad))
                for step, version, metric, n, bad in connection.execute(counted)
            ],
            judgement=judgements.judgement(connection, number),
        )


def expected(engine: Engine, detail: Detail) -> Expectation | None:
    """How long a rollout will take, if the coming days have the traffic of the last one; None once it is settled."""
    if detail.pending is None:
        return None
    said = hours.summaries(engine, datetime.now(UTC)).get(detail.rollout.model, [])
    votes = sum(one.n for one in said)
    return expected_duration(
        detail.pending,
        requests_per_day=sum(one.predictions for one in said),
        votes_per_day=votes,
        satisfaction=sum(one.satisfied for one in said) / votes if votes else None,
    )
