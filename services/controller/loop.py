"""One loop for laptop and cluster: what Postgres says is wanted, made true a little more at each tick.

Nothing here remembers what only this process could know: a new controller continues where a killed one stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from loguru import logger
from sqlalchemy import Engine

from canari.errors import CanariError
from canari.launch.launcher import Launcher, State, VersionRun
from canari.spec import ModelSpec
from canari.store import rollouts, versions
from canari.traffic.split import TrafficSplit, split_for
from canari.types import Rollout, Split, VersionState

ACTOR = "controller"


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


@dataclass
class Reconciler:
    """Makes versions run and traffic flow as Postgres wants."""

    engine: Engine
    launcher: Launcher
    traffic: TrafficSplit
    _applied: dict[str, Split] = field(default_factory=dict)
    _troubles: dict[str, str] = field(default_factory=dict)

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
        observed = [self._run_versions(specs[model], stable, rollout) for model, (stable, rollout) in desired.items()]
        self._applied = {seen.model: seen.split for seen in observed}
        in_force = self.traffic.apply(list(self._applied.values()))
        if in_force:
            self._prune(observed)
        return [replace(seen, in_force=in_force) for seen in observed]

    def _desired(self, models: Collection[str] | None) -> dict[str, tuple[int | None, Rollout | None]]:
        desired = rollouts.desired(self.engine)
        return desired if models is None else {model: it for model, it in desired.items() if model in models}

    def _bootstrap(self, desired: Mapping[str, tuple[int | None, Rollout | None]]) -> bool:
        """Give a model that has no version yet its first ready one; whether there was any."""
        deployed = False
        for model, (stable, rollout) in desired.items():
            if stable is None and rollout is None:
                ready = [v for v in versions.versions(self.engine, model) if v.state is VersionState.READY]
                if ready:
                    rollouts.deploy(self.engine, model, ready[-1].number, weight=100, actor=ACTOR)
                    logger.info("{}: version {} is the first and takes all traffic", model, ready[-1].number)
                    deployed = True
        return deployed

    def _run_versions(self, spec: ModelSpec, stable: int | None, rollout: Rollout | None) -> Observed:
        arms = {stable, rollout.canary if rollout else None, rollout.stable if rollout else None}
        states, trouble = self._ensure_all(spec, {number for number in arms if number is not None})
        split = split_for(spec, stable, rollout, _ready(states))
        if not split.shares:
            before = self._applied.get(spec.name)
            serving = {share.arm.version for share in before.shares} if before else set()
            # After a restart nothing is known to serve: whatever runs may, until what is wanted answers.
            serving = serving or {number for model, number in self.launcher.running() if model == spec.name}
            others, _ = self._ensure_all(spec, serving - set(states))
            states |= others
            if ready := _ready(states):
                last = before if before and {s.arm.version for s in before.shares} <= ready else None
                split = last if last and last.shares else split_for(spec, max(ready), None, ready)
        self._tell(spec.name, trouble)
        return Observed(spec.name, stable, rollout, states, split, trouble)

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
        open_arms = {seen.rollout.canary, seen.rollout.stable} if seen.rollout else set()
        return {number for number in arms | open_arms | {seen.stable} if number is not None}

    def _tell(self, model: str, trouble: str | None) -> None:
        if trouble != self._troubles.get(model):
            if trouble:
                logger.warning("{}: {}", model, trouble)
            self._troubles[model] = trouble or ""


def _ready(states: Mapping[int, State]) -> set[int]:
    return {number for number, state in states.items() if state is State.READY}
