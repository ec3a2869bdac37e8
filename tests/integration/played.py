"""A rollout that is judged as the controller does it, look by look, on a real database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, insert, update

from canari.observations import Evidence, Fault, Metric
from canari.policy import Judgement, Trial, Verdict, figures
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import evidence, judgements, rollout_views, rollouts, versions
from canari.store import tables as t
from canari.store.judgements import Kept
from canari.store.rollout_rows import Grounds
from services.controller.cases import Case, course
from tests.conftest import ROOT

MODEL = "drift"
CANARY: dict[str, Any] = {
    "steps": [20, 50],
    "bake": "50ms",
    "deadline": "2d",
    "metrics": {"errors": {"margin": 0.02}, "throttled": None, "latency": None, "satisfaction": {"margin": 0.05}},
}
Counts = tuple[int, int, int, int]  # stable's n and bad, the canary's n and bad
# At the first step, and at the second.
GOOD: Mapping[str, Counts] = {"errors": (160, 0, 40, 0), "satisfaction": (40, 4, 10, 1)}
GOOD_HALF: Mapping[str, Counts] = {"errors": (100, 0, 100, 0), "satisfaction": (25, 3, 25, 3)}
BAD: Mapping[str, Counts] = {"errors": (160, 0, 40, 3), "satisfaction": (40, 4, 10, 1)}
BAD_HALF: Mapping[str, Counts] = {"errors": (100, 0, 100, 8), "satisfaction": (25, 3, 25, 3)}


def spec(**canary: Any) -> ModelSpec:
    """The model drift, with canaries that are judged at once."""
    document = load_spec(ROOT / "bentos" / MODEL).document()
    return ModelSpec.model_validate({**document, "canary": {**document["canary"], **CANARY, **canary}})


@dataclass
class Played:
    """Version 2 beside version 1, from its proposal on."""

    engine: Engine
    rules: Mapping[str, Any] = field(default_factory=dict)
    priors: Mapping[str, float] = field(default_factory=dict)
    now: int = 0  # the last look's tick
    said: Judgement | None = None

    def __post_init__(self) -> None:
        model = spec(**self.rules)
        for number in (1, 2):
            versions.allot(self.engine, model, manifest_digest="m", synthetic=True)
            versions.mark_ready(self.engine, MODEL, number, archive="a" * 64, metrics={})
        rollouts.deploy(self.engine, MODEL, 1, weight=100, actor="ada")
        proposed = rollouts.propose(self.engine, MODEL, 2, actor="ada", reason="it is better")
        self.number = proposed.id
        with self.engine.begin() as connection:
            of_this = update(t.rollouts).where(t.rollouts.c.id == proposed.id)
            connection.execute(of_this.values(priors=dict(self.priors)))
        self.trial = Trial(model.canary, stable=1, canary=2, priors=self.priors)

    def look(self, *faults: Fault, **counts: Counts) -> Judgement:
        """A look: what each metric brought, and what was wrong."""
        time.sleep(0.002)
        self.now = max(int(time.time() * 1000), self.now + 1)
        case = self._case()
        step = course(case, self.now).step
        found = [
            Evidence(self.number, self.now, step, version, Metric(metric), n, bad)
            for metric, (stable_n, stable_bad, canary_n, canary_bad) in counts.items()
            for version, n, bad in ((1, stable_n, stable_bad), (2, canary_n, canary_bad))
            if n
        ]
        with self.engine.begin() as connection:
            for row in found:
                connection.execute(insert(t.evidence).values({name: getattr(row, name) for name in row.__slots__}))
            for place, fault in enumerate(faults):
                told = {"place": place, "kind": fault.kind, "sentence": fault.sentence}
                connection.execute(insert(t.evidence_faults).values(rollout=self.number, tick=self.now, **told))
        if found or faults:
            self.trial.take(self.now, found, faults)
        return self._judge(case, faults)

    def until(self, verdict: Verdict, **counts: Counts) -> Judgement:
        """Look until something is decided, which ought to be this."""
        for _ in range(200):
            if (said := self.look(**counts)).verdict is not Verdict.HOLD:
                assert said.verdict is verdict, said.sentence
                return said
        raise AssertionError(self.said)

    def _judge(self, case: Case, faults: tuple[Fault, ...]) -> Judgement:
        stands = course(case, self.now)
        self.said = said = self.trial.judge(self.now, stands, faults)
        document = figures(said, self.trial.standings(stands), at=self.now, course=stands)
        judgements.keep(self.engine, {self.number: Kept(self.trial.state(), document)})
        grounds = Grounds(self.trial.tick or self.now, document)
        why: dict[str, Any] = {"reason": said.sentence, "actor": "controller", "grounds": grounds}
        if said.verdict is Verdict.ADVANCE:
            rollouts.advance(self.engine, self.number, case.rollout.step + 1, **why)
        elif said.verdict is Verdict.PROMOTE:
            rollouts.promote(self.engine, MODEL, rollout=self.number, **why)
        elif said.verdict is Verdict.ROLL_BACK:
            rollouts.roll_back(self.engine, MODEL, rollout=self.number, **why)
        return said

    def _case(self) -> Case:
        rollout = rollout_views.rollout(self.engine, self.number)
        return Case(rollout, evidence.known(self.engine, [self.number])[self.number], self.trial)
