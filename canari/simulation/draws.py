"""What a world shows at each look: counts drawn for thousands of rollouts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canari.simulation.world import Metric, World

Counts = NDArray[np.int64]  # shape (4, rollouts): stable's outcomes, the bad ones, the canary's, the bad ones


@dataclass(frozen=True)
class Seen:
    """One look: the requests of each arm, shape (2, rollouts), and each metric's new outcomes."""

    requests: NDArray[np.int64]
    outcomes: dict[str, Counts]


class Draws:
    """The looks of `rollouts` rollouts in one world."""

    def __init__(self, world: World, rollouts: int, rng: np.random.Generator) -> None:
        self.world, self.rollouts, self._rng = world, rollouts, rng
        self._look = 0
        self._begins = rng.integers(0, world.looks, rollouts)
        self._late: dict[str, list[Counts]] = {name: [] for name in world.metrics}

    def next(self, share: NDArray[np.float64], running: NDArray[np.bool_]) -> Seen:
        """The next look, where `share` (rollouts,) of the requests go to the canary; ended rollouts see nothing."""
        mean = self.world.requests * self._season() * running
        requests = self._rng.poisson([mean * (1 - share), mean * share])
        outcomes = {name: self._outcomes(name, metric, requests) for name, metric in self.world.metrics.items()}
        self._look += 1
        return Seen(requests, outcomes)

    def _season(self) -> float:
        season = self.world.season
        if season is None:
            return 1.0
        turns = self._look * self.world.look / season.period
        return 1 + season.swing * math.sin(2 * math.pi * turns)

    def rates(self, metric: Metric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each arm's rate of bad outcomes now, (rollouts,); the arms differ as described, whatever moves both."""
        world, moved = self.world, np.zeros(self.rollouts)
        if world.drift is not None:
            moved += world.drift.by * (self._look / max(world.looks - 1, 1) - 0.5)
        if world.incident is not None:
            since = self._look - self._begins
            moved += world.incident.extra * ((since >= 0) & (since < world.incident.lasts / world.look))
        low = -min(metric.stable, metric.canary)
        moved = np.clip(moved, low, 1 - max(metric.stable, metric.canary))
        return metric.stable + moved, metric.canary + moved

    def _outcomes(self, name: str, metric: Metric, requests: NDArray[np.int64]) -> Counts:
        drawn = []
        for count, rate, share in zip(
            requests, self.rates(metric), (metric.seen.stable, metric.seen.canary), strict=True
        ):
            n = count if share == 1 else self._rng.binomial(count, share)
            drawn += [n, self._rng.binomial(n, rate)]
        counts = np.stack(drawn)
        return counts if metric.labels is None else self._labelled(name, metric, counts)

    def _labelled(self, name: str, metric: Metric, counts: Counts) -> Counts:
        """The cohort that comes of age at this look: of its outcomes, those whose label is there by then."""
        assert metric.labels is not None
        there = [-math.expm1(-(metric.labels.age / mean)) for mean in (metric.labels.right, metric.labels.wrong)]
        cohort = np.zeros_like(counts)
        for arm in (0, 2):
            bad = self._rng.binomial(counts[arm + 1], there[1])
            cohort[arm] = bad + self._rng.binomial(counts[arm] - counts[arm + 1], there[0])
            cohort[arm + 1] = bad
        waiting = self._late[name]
        waiting.append(cohort)
        return waiting.pop(0) if len(waiting) > metric.labels.age / self.world.look else np.zeros_like(counts)
