"""One loop for laptop and cluster: what Postgres says is wanted, made true a little more at each tick.

Nothing here remembers what only this process could know: a new controller continues where a killed one stopped.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.errors import CanariError
from canari.launch.launcher import Launcher, State, VersionRun
from canari.policy import Judgement
from canari.spec import ModelSpec
from canari.store import hours, rollouts, versions
from canari.traffic.split import TrafficSplit, split_for
from canari.types import Desired, Previous, Rollout, Split, VersionState
from services.controller.cases import Scene
from services.controller.judge import ACTOR, Judge

_SWEEP_SECONDS = 15.0


@dataclass(frozen=True)
class Observed:
    """One model as a tick found it and left it."""

    model: str
    stable: int | None
    rollout: Rollout | None
    states: dict[int, State]
    split: Split
    trouble: str | None = None
    in_force: bool = False
    previous: Previous | None = None
    judgement: Judgement | None = None

    @property
    def unanswered(self) -> bool:
        """Whether a version of it is wanted, and none answers."""
        return (self.stable is not None or self.rollout is not None) and not self.split.shares


@dataclass(frozen=True)
class _Asked:
    """The split last asked for, and since when it is in force (seconds of the monotonic clock); None: not yet."""

    split: Split
    since: float | None


@dataclass
class Reconciler:
    """Makes versions run and traffic flow as Postgres wants."""

    engine: Engine
    launcher: Launcher
    traffic: TrafficSplit
    _asked: dict[str, _Asked] = field(default_factory=dict)
    _troubles: dict[str, str] = field(default_factory=dict)
    _swept_at: float = field(default=float("-inf"))
    _judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.engine, self.traffic)

    def register(self, specs: Collection[ModelSpec]) -> None:
        """Make the families' specifications the live ones where they changed."""
        live = versions.live_hashes(self.engine)
        for spec in specs:
            if live.get(spec.name) != spec.hash:
                versions.put_spec(self.engine, spec)
                logger.info("{}: specification {} is live", spec.name, spec.hash[:12])

    def tick(self, models: Collection[str] | None = None) -> list[Observed]:
        """One round; returns what it saw. Raises only where the database or the gateway is away.

        `models` are those that are to run, all of them by default: any other's versions are stopped.
        """
        specs = versions.live_specs(self.engine)
        desired = self._desired(models)
        if self._bootstrap(desired):
            desired = self._desired(models)
        observed = [self._run_versions(specs[model], wanted) for model, wanted in desired.items()]
        if decided := self._judge.sit([self._scene(seen, desired[seen.model]) for seen in observed]):
            desired = self._desired(models)
            observed = [
                self._run_versions(specs[seen.model], desired[seen.model]) if seen.model in decided else seen
                for seen in observed
            ]
        done = self._divide([seen.split for seen in observed])
        if done:
            self._prune(observed)
        self._sweep()
        return [
            replace(seen, in_force=done, judgement=self._judge.judgement(seen.model, desired[seen.model]))
            for seen in observed
        ]

    def _sweep(self) -> None:
        """Have late votes in the counts by the hour; where that takes too long, nothing else waits for it."""
        if time.monotonic() < self._swept_at + _SWEEP_SECONDS:
            return
        self._swept_at = time.monotonic()
        try:
            hours.sweep(self.engine)
        except SQLAlchemyError as error:
            logger.warning("late votes are not in the counts by the hour yet: {}", str(error).partition("\n")[0])

    def _scene(self, seen: Observed, wanted: Desired) -> Scene:
        asked = self._asked.get(seen.model)
        # After a restart nothing is known of what was asked for: whatever is in force will do, but not for a change.
        if asked is None:
            return Scene(seen.model, wanted, seen.states, seen.split, asked=seen.split, settled=False)
        settled = asked.since is not None and time.monotonic() - asked.since >= self.traffic.settle_seconds
        return Scene(seen.model, wanted, seen.states, seen.split, asked=asked.split, settled=settled)

    def _divide(self, splits: Collection[Split]) -> bool:
        done = self.traffic.apply(splits)
        before, now = self._asked, time.monotonic()
        self._asked = {}
        for split in splits:
            known = before.get(split.model)
            # However soon a change is in force, one look at least has to tell its counts from those of before.
            same = known if known is not None and known.split == split else None
            since = (same.since or now) if same and self.traffic.in_force(split.model) else None
            self._asked[split.model] = _Asked(split, since)
        return done

    def _desired(self, models: Collection[str] | None) -> dict[str, Desired]:
        desired = rollouts.desired(self.engine)
        return desired if models is None else {model: it for model, it in desired.items() if model in models}

    def _bootstrap(self, desired: Mapping[str, Desired]) -> bool:
        """Give a model that has no version yet its first ready one; whether there was any."""
        deployed = False
        for model, wanted in desired.items():
            if wanted.stable is None and wanted.rollout is None:
                ready = [v for v in versions.versions(self.engine, model) if v.state is VersionState.READY]
                if ready:
                    rollouts.deploy(self.engine, model, ready[-1].number, weight=100, actor=ACTOR)
                    logger.info("{}: version {} is the first and takes all traffic", model, ready[-1].number)
                    deployed = True
        return deployed

    def _run_versions(self, spec: ModelSpec, wanted: Desired) -> Observed:
        states, trouble = self._ensure_all(spec, wanted.versions)
        split = split_for(spec, wanted.stable, wanted.rollout, _ready(states), wanted.previous)
        if not split.shares:
            asked = self._asked.get(spec.name)
            before = asked.split if asked else None
            serving = {share.arm.version for share in before.shares} if before else set()
            # After a restart nothing is known to serve: whatever runs may, until what is wanted answers.
            serving = serving or {number for model, number in self.launcher.running() if model == spec.name}
            others, _ = self._ensure_all(spec, serving - set(states))
            states |= others
            if ready := _ready(states):
                last = before if before and {s.arm.version for s in before.shares} <= ready else None
                split = last if last and last.shares else split_for(spec, max(ready), None, ready)
        self._tell(spec.name, trouble)
        return Observed(spec.name, wanted.stable, wanted.rollout, states, split, trouble, previous=wanted.previous)

    def _ensure_all(self, spec: ModelSpec, numbers: Collection[int]) -> tuple[dict[int, State], str | None]:
        states: dict[int, State] = {}
        trouble = None
        for number in sorted(numbers):
            try:
                states[number] = self._ensure(spec, number)
            except (CanariError, OSError) as error:
                states[number] = State.ABSENT
                trouble = str(error)
        return states, trouble

    def _ensure(self, spec: ModelSpec, number: int) -> State:
        version = versions.version(self.engine, spec.name, number)
        if version.archive is None:
            return State.ABSENT
        return self.launcher.ensure(VersionRun(spec, number, version.archive))

    def _prune(self, observed: Collection[Observed]) -> None:
        needed = {(seen.model, number) for seen in observed for number in self._needed(seen)}
        leaving = [
            (model, number) for model, number in self.launcher.running() - needed if self.traffic.unused(model, number)
        ]
        if leaving:
            self.launcher.stop(leaving)
            for model, number in leaving:
                logger.info("{}: version {} has left and is stopped", model, number)

    @staticmethod
    def _needed(seen: Observed) -> set[int]:
        arms = {share.arm.version for share in seen.split.shares}
        return arms.union(Desired(seen.stable, seen.rollout, seen.previous).versions)

    def _tell(self, model: str, trouble: str | None) -> None:
        if trouble != self._troubles.get(model):
            if trouble:
                logger.warning("{}: {}", model, trouble)
            self._troubles[model] = trouble or ""


def _ready(states: Mapping[int, State]) -> set[int]:
    return {number for number, state in states.items() if state is State.READY}
