"""The judge: looks at every rollout on trial, and has done what the evidence says.

Each look is recorded before it is judged, and each verdict before anything follows from it. What is kept in memory only
saves work: a new judge reads it back, and continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
from loguru import logger
from sqlalchemy import Engine

from canari import evidence as gateway
from canari.errors import CanariError
from canari.observations import Counters, Fault, Metric
from canari.policy import Judgement, Trial, Verdict, figures
from canari.store import evidence, judgements, rollout_views, rollouts
from canari.store.evidence import Look
from canari.store.judgements import Kept
from canari.store.rollout_rows import Grounds
from canari.traffic.split import TrafficSplit
from canari.types import Desired, Rollout, RolloutMode
from services.controller.cases import Case, Scene, course, opened, own_faults, remembered

ACTOR = "controller"
# An hour long each tick looks. From then on there is less haste: harm that was not there so far is seen 10 s later.
_UNHURRIED_SECONDS, _AGE_PER_SECOND = 10.0, 360.0
_KEEP_SECONDS = 10.0
_SHADOW_AGE = timedelta(seconds=10)


class Judge:
    """Judges all rollouts of one platform. `clock` gives the time of looks, `timer` seconds that never go back."""

    def __init__(
        self,
        engine: Engine,
        traffic: TrafficSplit,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._traffic = traffic
        self._clock = clock
        self._timer = timer
        self._cases: dict[str, Case] = {}
        self._trouble: str | None = None

    def sit(self, scenes: Iterable[Scene]) -> set[str]:
        """Look at what is due, before the splits that the scenes ask for; the models that something was decided of."""
        on_trial = {scene.model: (scene, rollout) for scene in scenes if (rollout := self._on_trial(scene)) is not None}
        self._cases = {model: self._case(rollout) for model, (_, rollout) in on_trial.items()}
        due = [on_trial[model][0] for model, case in self._cases.items() if self._due(case, on_trial[model][0])]
        if not due:
            return set()
        now, counters = self._clock(), self._counters()
        looks = {scene.model: self._look(self._cases[scene.model], scene, counters, now) for scene in due}
        recorded = evidence.record(self._engine, list(looks.values()))
        heard = []
        for scene in due:
            case = self._cases[scene.model]
            found = recorded.get(case.rollout.id)
            if found is None:
                # Another judge looked meanwhile: this one has to read what that one saw.
                del self._cases[scene.model]
            else:
                case.known = found.known
                heard.append((case, looks[scene.model].tick, found))
        Trial.take_together([(case.trial, tick, found.evidence, found.faults) for case, tick, found in heard])
        decided = {case.rollout.model for case, tick, found in heard if self._judge(case, tick, found.faults)}
        self._keep()
        return decided

    def judgement(self, model: str, desired: Desired) -> Judgement | None:
        """What was last said of the model's rollout that is on trial."""
        case = self._cases.get(model)
        on_trial = desired.rollout.id if desired.rollout else desired.previous.rollout if desired.previous else None
        return case.judgement if case is not None and case.rollout.id == on_trial else None

    def _on_trial(self, scene: Scene) -> Rollout | None:
        """The model's rollout that is judged: the open one, or one that evidence promoted and that may be undone."""
        wanted = scene.desired
        if wanted.rollout is not None:
            return wanted.rollout if wanted.rollout.mode is RolloutMode.JUDGED else None
        if wanted.previous is None or not wanted.previous.judged:
            return None
        case = self._cases.get(scene.model)
        if case is not None and case.rollout.id == wanted.previous.rollout and case.rollout.settled_at is not None:
            return case.rollout
        return rollout_views.rollout(self._engine, wanted.previous.rollout)

    def _case(self, rollout: Rollout) -> Case:
        case = self._cases.get(rollout.model)
        if case is not None and case.rollout.id == rollout.id:
            if case.rollout != rollout:
                # It was paused, resumed, or moved: what is said of it is to be of today.
                case.rollout, case.looked_at = rollout, float("-inf")
            return case
        return remembered(self._engine, rollout)

    def _due(self, case: Case, scene: Scene) -> bool:
        """Whether to look now; always before the split changes: what was counted belongs to that of before."""
        if scene.split != scene.asked or not scene.settled or own_faults(case, scene):
            return True
        age = (self._clock() - opened(case)).total_seconds()
        return self._timer() - case.looked_at >= min(_UNHURRIED_SECONDS, age / _AGE_PER_SECOND)

    def _counters(self) -> Counters | None:
        counters, trouble = None, None
        try:
            counters = self._traffic.counters()
        except (httpx.HTTPError, OSError, CanariError) as error:
            trouble = str(error)
        if trouble and self._trouble is None:
            logger.warning("the gateway's counters cannot be read, so every rollout holds: {}", trouble)
        elif self._trouble and trouble is None:
            logger.info("the gateway's counters can be read again")
        self._trouble = trouble
        return counters

    def _look(self, case: Case, scene: Scene, counters: Counters | None, now: datetime) -> Look:
        metrics = case.rules.metrics
        tick, clock = gateway.tick_after(case.known.tick, now)
        seen = gateway.look(
            case.known.marks,
            counters,
            self._traffic.arms(scene.asked),
            rollout=case.rollout.id,
            tick=tick,
            settled=scene.settled,
            budget_ms=None if metrics.latency is None else metrics.latency.budget.total_seconds() * 1000,
        )
        faults = [*seen.faults, *([clock] if clock else []), *own_faults(case, scene)]
        case.looked_at = self._timer()
        return Look(case.known, tick, replace(seen, faults=tuple(faults)), now, _ages(case))

    def _judge(self, case: Case, at: int, faults: Collection[Fault]) -> bool:
        """Say what the evidence says, and have it done; whether anything was decided."""
        stands = course(case, at)
        said = case.trial.judge(at, stands, faults)
        changed = case.judgement is None or (said.verdict, said.metric, said.barred) != (
            case.judgement.verdict,
            case.judgement.metric,
            case.judgement.barred,
        )
        if changed:
            case.kept_at = float("-inf")
            model, number = case.rollout.model, case.rollout.id
            logger.info("{}: rollout {}: {}: {}", model, number, said.verdict.name.lower(), said.sentence)
        case.judgement = said
        if said.verdict is Verdict.HOLD:
            return False
        document = figures(said, case.trial.standings(stands), at=at, course=stands)
        grounds = Grounds(case.trial.tick or at, document)
        try:
            self._act(case.rollout, said, grounds)
        except CanariError as error:
            # A person was quicker: the next tick finds what they did.
            logger.warning("{}: {}", case.rollout.model, error)
            return False
        self._save([case])
        return True

    def _act(self, rollout: Rollout, said: Judgement, grounds: Grounds) -> None:
        if said.verdict is Verdict.ADVANCE:
            step = rollout.step + 1
            rollouts.advance(self._engine, rollout.id, step, reason=said.sentence, actor=ACTOR, grounds=grounds)
            return
        act = rollouts.promote if said.verdict is Verdict.PROMOTE else rollouts.roll_back
        act(self._engine, rollout.model, reason=said.sentence, actor=ACTOR, rollout=rollout.id, grounds=grounds)

    def _keep(self) -> None:
        """Keep what changed, now and then: it saves the next judge and those who look on from reading all evidence."""
        now = self._timer()
        stale = [case for case in self._cases.values() if now - case.kept_at >= _KEEP_SECONDS and case.judgement]
        self._save(stale)

    def _save(self, cases: Collection[Case]) -> None:
        at = int(self._clock().timestamp() * 1000)
        found = {}
        for case in cases:
            assert case.judgement is not None
            stands = course(case, at)
            document = None
            # As long as nothing follows, people are to see why a version was promoted.
            if not (stands.promoted and case.judgement.verdict is Verdict.HOLD):
                document = figures(case.judgement, case.trial.standings(stands), at=at, course=stands)
            found[case.rollout.id] = Kept(case.trial.state(), document)
            case.kept_at = self._timer()
        judgements.keep(self._engine, found)


def _ages(case: Case) -> dict[Metric, timedelta]:
    """How old requests have to be before what was said of them is looked at."""
    metrics = case.rules.metrics
    # The last copies are looked at during the step after.
    shadowed = case.rules.steps[0] == "shadow" and case.rollout.step <= 1
    ages = {Metric.AGREEMENT: _SHADOW_AGE} if shadowed else {}
    for metric, judged in ((Metric.SATISFACTION, metrics.satisfaction), (Metric.ACCURACY, metrics.accuracy)):
        if judged is not None:
            ages[metric] = judged.age
    return ages
