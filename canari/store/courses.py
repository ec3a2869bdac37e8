"""The course of a rollout: its evidence merged for pictures, and look by look where it is judged again.

A rollout of two weeks has some 700,000 rows of evidence: pictures are made of what Postgres adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, select, text

from canari import __version__
from canari.observations import FaultKind, Metric
from canari.policy.replay import Compared, Decided, Look, replay
from canari.policy.rules import judged
from canari.policy.sequence import Batch, Sequence, sequences
from canari.spec_canary import Canary
from canari.stats import RARE
from canari.store import decisions, evidence, judgements
from canari.store import rollout_rows as rows
from canari.store import tables as t
from canari.types import Rollout

_MOST = 200
_FINEST_MS = 1000

# As a trial does, requests are left out while an arm got none: they would be compared with nothing.
_MERGED = text("""
    WITH apart AS MATERIALIZED (
        SELECT DISTINCT tick FROM evidence_faults WHERE rollout = :rollout AND kind = ANY(:apart)
    ), paired AS MATERIALIZED (
        SELECT tick, step FROM evidence JOIN apart USING (tick)
        WHERE rollout = :rollout AND metric = 'errors' AND n > 0 GROUP BY tick, step HAVING count(*) > 1
    )
    SELECT metric, max(tick) AS at, step,
           coalesce(sum(n) FILTER (WHERE version = :stable), 0) AS stable_n,
           coalesce(sum(bad) FILTER (WHERE version = :stable), 0) AS stable_bad,
           coalesce(sum(n) FILTER (WHERE version = :canary), 0) AS canary_n,
           coalesce(sum(bad) FILTER (WHERE version = :canary), 0) AS canary_bad
    FROM evidence LEFT JOIN apart USING (tick) LEFT JOIN paired USING (tick, step)
    WHERE rollout = :rollout AND metric = ANY(:metrics)
      AND (apart.tick IS NULL OR paired.tick IS NOT NULL OR metric <> ALL(:requests))
    GROUP BY metric, (tick - :first) / :width, step
    ORDER BY (tick - :first) / :width, step
""")


@dataclass(frozen=True, slots=True)
class View:
    """A rollout, its steps, what was last said of it, and its metrics' confidence sequences.

    Steps and metrics are empty where people steer it. `tick` is the newest look that found something.
    """

    rollout: Rollout
    steps: tuple[str | int, ...]
    judgement: Mapping[str, Any] | None
    tick: int | None
    metrics: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A rollout's decisions beside what their evidence leads to, and how many looks that was."""

    rollout: int
    looks: int
    compared: list[Compared]

    @property
    def same(self) -> bool:
        """Whether all was as it is now."""
        return all(one.same for one in self.compared)


def view(engine: Engine, model: str, number: int) -> View:
    """The course of a model's rollout so far; raises CanariError where there is none of that number."""
    with engine.connect() as connection:
        rollout = rows.read(connection, number, model)
        rules = rows.rules_of(connection, rollout)
        first, last = connection.execute(
            select(func.min(t.evidence.c.tick), func.max(t.evidence.c.tick)).where(t.evidence.c.rollout == number)
        ).one()
        batches = [] if rules is None or first is None else _batches(connection, rollout, rules, first, last)
        judgement = judgements.judgement(connection, number)
    return View(
        rollout,
        rules.steps if rules else (),
        judgement,
        last,
        tuple(sequences(rules, batches, priors=rollout.priors)) if rules else (),
    )


def size(engine: Engine, number: int) -> int:
    """How many rows of evidence a rollout has."""
    with engine.connect() as connection:
        query = select(func.count()).select_from(t.evidence).where(t.evidence.c.rollout == number)
        return connection.execute(query).scalar_one()


def judge_again(
    engine: Engine, model: str | None, number: int, *, told: Callable[[int], None] = lambda _: None
) -> Replayed:
    """Judge a rollout again, from its first look to its last; `told` hears of each look how many rows it had.

    `model` is that which it ought to be of, if any. Raises CanariError where there is none of that number, or it is
    another model's.
    """
    with engine.connect() as connection:
        rollout = rows.read(connection, number, model)
        rules = rows.rules_of(connection, rollout)
        made = [_decided(one) for one in decisions.of_rollout(connection, number)]
    seen = 0

    def looks() -> Iterator[Look]:
        nonlocal seen
        for look in evidence.looks(engine, number):
            seen += 1
            told(len(look[1]))
            yield look

    compared = replay(
        rules,
        made,
        looks(),
        stable=rollout.stable,
        canary=rollout.canary,
        code_version=__version__,
        priors=rollout.priors,
    )
    return Replayed(number, seen, compared)


def _batches(connection: Connection, rollout: Rollout, rules: Canary, first: int, last: int) -> list[Batch]:
    metrics = judged(rules)
    # Doubled as time goes by: what has been drawn stays as it is for as long as possible.
    width = _FINEST_MS
    while (last - first) // width >= _MOST:
        width *= 2
    asked = {
        "rollout": rollout.id,
        "stable": rollout.stable,
        "canary": rollout.canary,
        "metrics": list(metrics),
        "requests": [metric for metric, (_, method) in metrics.items() if method is RARE],
        "apart": [FaultKind.ABSENT, FaultKind.ALONE],
        "first": first,
        "width": width,
    }
    # Evidence grows faster than its statistics: a planner that expects a row may run through all of it for each.
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    return [
        Batch(Metric(row.metric), row.at, row.step, *map(int, row[3:])) for row in connection.execute(_MERGED, asked)
    ]


def _decided(made: decisions.Decision) -> Decided:
    return Decided(
        made.id, made.action, made.actor, _ms(made.created_at), made.code_version, made.evidence_tick, made.verdict
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
