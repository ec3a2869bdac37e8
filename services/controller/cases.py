"""Rollouts on trial as the judge has them before it: how a model looks at a tick, and what is known so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from loguru import logger
from sqlalchemy import Engine

from canari.launch.launcher import State
from canari.observations import Fault, FaultKind
from canari.policy import Course, Judgement, Trial
from canari.spec_canary import Canary
from canari.store import evidence, judgements, rollout_views
from canari.store.evidence import Known
from canari.types import Desired, Rollout, Split


@dataclass(frozen=True, slots=True)
class Scene:
    """One model at a tick: what is wanted, what answers, and the split it asks for next.

    `asked` is the split that was last asked for; `settled` where every proxy surely follows it.
    """

    model: str
    desired: Desired
    states: Mapping[int, State]
    split: Split
    asked: Split
    settled: bool


@dataclass
class Case:
    """A rollout on trial, as far as it is known."""

    rollout: Rollout
    known: Known
    trial: Trial
    judgement: Judgement | None = None
    looked_at: float = float("-inf")
    kept_at: float = float("-inf")

    @property
    def rules(self) -> Canary:
        """What it is judged by."""
        return self.trial.rules


def remembered(engine: Engine, rollout: Rollout) -> Case:
    """The case as a judge left it who is there no more."""
    rules = rollout_views.rules(engine, rollout)
    assert rollout.stable is not None
    trial = Trial(rules, stable=rollout.stable, canary=rollout.canary, priors=rollout.priors)
    kept = judgements.kept(engine, rollout.id)
    if kept is not None:
        try:
            trial.restore(kept.state)
        except (ValueError, KeyError):
            logger.warning("rollout {}: another release kept its trial: its evidence is read anew", rollout.id)
    for look in evidence.looks(engine, rollout.id, after=trial.tick):
        trial.take(*look)
    return Case(rollout, evidence.known(engine, [rollout.id])[rollout.id], trial)


def opened(case: Case) -> datetime:
    """When the rollout opened, later by its pauses: they move its deadline."""
    assert case.rollout.deadline_at is not None
    return case.rollout.deadline_at - case.rules.deadline


def course(case: Case, at: int) -> Course:
    """Where a rollout stands at a moment (ms since 1970)."""
    rollout = case.rollout
    assert rollout.step_started_at is not None
    now = datetime.fromtimestamp(at / 1000, tz=UTC)
    promoted = rollout.settled_at is not None
    return Course(
        step=rollout.step + 1 if promoted else rollout.step,
        step_seconds=(now - (rollout.settled_at or rollout.step_started_at)).total_seconds(),
        open_seconds=((rollout.paused_at or now) - opened(case)).total_seconds(),
        paused=rollout.paused_at is not None,
        promoted=promoted,
    )


def own_faults(case: Case, scene: Scene) -> list[Fault]:
    """What is wrong with the arms themselves."""
    rollout = case.rollout
    answers = {number for number, state in scene.states.items() if state is State.READY}
    if rollout.stable not in answers and rollout.settled_at is None:
        said = f"version {rollout.stable} does not answer: there is nothing to compare version {rollout.canary} with"
        return [Fault(FaultKind.ALONE, said)]
    if rollout.canary not in answers:
        return [
            Fault(
                FaultKind.ABSENT,
                f"version {rollout.canary} does not answer, or not yet: it gets no traffic until it does",
            )
        ]
    if not scene.settled:
        return [Fault(FaultKind.UNSETTLED, "the split is changing: some requests may still go as before")]
    return []
