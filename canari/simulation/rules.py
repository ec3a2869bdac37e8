"""Rules that decide over rollouts: Canari's own, those of other tools as they document them, and a plain z-test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from canari.policy import Rule, Verdict, verdicts
from canari.simulation.draws import Counts, Seen
from canari.simulation.world import World
from canari.stats import TwoRates

Verdicts = NDArray[np.int8]


@dataclass(frozen=True)
class Moment:
    """Where each rollout is when it is looked at: times in seconds and flags, shape (rollouts,)."""

    look: int
    step_seconds: NDArray[np.float64]
    open_seconds: float
    last_step: NDArray[np.bool_]


class Player(Protocol):
    """One rule in one world, for many rollouts."""

    def look(self, seen: Seen, moment: Moment) -> Verdicts:
        """The verdict on each rollout, shape (rollouts,)."""
        ...

    def advanced(self, where: NDArray[np.bool_]) -> None:
        """These rollouts have just begun their next step."""
        ...


class Canari:
    """Canari's own rule: the tests of `canari.stats`, and `canari.policy.verdicts` as the controller calls it."""

    def __init__(self, world: World, rollouts: int) -> None:
        self._rule = Rule(alpha=world.alpha, bake=world.bake.total_seconds(), deadline=math.inf, on_deadline="hold")
        self._required = [metric.required for metric in world.metrics.values()]
        self.tests = {
            name: TwoRates(metric.margin, world.method(name), prior=metric.stable, shape=(rollouts,))
            for name, metric in world.metrics.items()
        }
        self._totals = {name: np.zeros((2, rollouts), np.int64) for name in world.metrics}

    def look(self, seen: Seen, moment: Moment) -> Verdicts:
        """By the evidence so far."""
        heard = []
        for name, test in self.tests.items():
            counts = seen.outcomes[name]
            test.update(*counts)
            self._totals[name] += counts[::2]
            heard.append(self._totals[name].min(axis=0) >= test.method.minimum)
        return verdicts(
            self._rule,
            np.stack([test.log_harm for test in self.tests.values()], axis=-1),
            np.stack([test.log_no_worse for test in self.tests.values()], axis=-1),
            heard=np.stack(heard, axis=-1),
            required=self._required,
            step_seconds=moment.step_seconds,
            open_seconds=moment.open_seconds,
            last_step=moment.last_step,
        )

    def advanced(self, where: NDArray[np.bool_]) -> None:
        """Each step shows anew that the canary is no worse."""
        for test in self.tests.values():
            test.restart_no_worse(where)


class _Checks:
    """Checks of the canary's own rates against fixed limits, once an interval, on that interval's outcomes.

    Errors and latency have a limit for the rate; other metrics are held to stable's described rate plus the margin,
    which is more than a fixed threshold could know.
    """

    def __init__(self, world: World, rollouts: int, limit: float, interval: float) -> None:
        self._world = world
        self._limits = {
            name: limit if name in {"errors", "throttled"} else metric.stable + metric.margin
            for name, metric in world.metrics.items()
        }
        self._every = max(1, round(interval / world.look.total_seconds()))
        self._window = {name: np.zeros((2, rollouts), np.int64) for name in world.metrics}

    def check(self, seen: Seen, look: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """How many metrics failed, and how many had no data, (rollouts,); None between two checks."""
        for name, counts in seen.outcomes.items():
            self._window[name] += counts[2:]
        if (look + 1) % self._every:
            return None
        failed, silent = np.zeros((2, seen.requests.shape[1]), np.int64)
        for name, window in self._window.items():
            n, bad = window
            silent += n == 0
            failed += (n > 0) & (bad > self._limits[name] * n)
            window[:] = 0
        return failed, silent


class ArgoRollouts:
    """Argo Rollouts' background analysis: it fails with more than `failureLimit` failed measurements.

    As documented ("Analysis & Progressive Delivery"): the canary's success rate is measured once an interval,
    `failureLimit: 3` bears three failed measurements and the fourth aborts, and more than four measurements in a row
    without data abort too (`consecutiveErrorLimit`). Steps last their pause; the rollout ends with its steps.
    """

    def __init__(
        self, world: World, rollouts: int, *, limit: float = 0.05, failure_limit: int = 3, interval: float = 60.0
    ) -> None:
        self._checks = _Checks(world, rollouts, limit, interval)
        self._bake = world.bake.total_seconds()
        self._limit = failure_limit
        self._failed = np.zeros(rollouts, np.int64)
        self._errors = np.zeros(rollouts, np.int64)

    def look(self, seen: Seen, moment: Moment) -> Verdicts:
        """By the failures so far."""
        found = self._checks.check(seen, moment.look)
        if found is not None:
            failed, silent = found
            self._failed += failed
            self._errors = np.where(silent > 0, self._errors + 1, 0)
        aborts = (self._failed > self._limit) | (self._errors > 4)
        return _steps(aborts, moment.step_seconds >= self._bake, moment.last_step)

    def advanced(self, where: NDArray[np.bool_]) -> None:
        """The analysis goes on in the background."""


class Flagger:
    """Flagger's analysis: `threshold` failed checks roll back; only an interval without a failure counts as progress.

    As documented ("How it works", "Metrics Analysis") and in its scheduler: failed checks add up and are never
    forgiven, a check without data is a failed one, and a success rate under 99 % fails. A step takes as many good
    checks as fit into the world's bake time, so that all rules have the same pace.
    """

    def __init__(
        self, world: World, rollouts: int, *, limit: float = 0.01, threshold: int = 5, interval: float = 60.0
    ) -> None:
        self._checks = _Checks(world, rollouts, limit, interval)
        self._needed = max(1, round(world.bake.total_seconds() / max(interval, world.look.total_seconds())))
        self._threshold = threshold
        self._failed = np.zeros(rollouts, np.int64)
        self._good = np.zeros(rollouts, np.int64)

    def look(self, seen: Seen, moment: Moment) -> Verdicts:
        """By the failed checks so far."""
        found = self._checks.check(seen, moment.look)
        if found is not None:
            bad = found[0] + found[1] > 0
            self._failed += bad
            self._good += ~bad
        return _steps(self._failed >= self._threshold, self._good >= self._needed, moment.last_step)

    def advanced(self, where: NDArray[np.bool_]) -> None:
        """The next step's checks are counted."""
        self._good[where] = 0


class RepeatedZTest:
    """A one-sided two-proportion z-test on the totals so far, at every look, as if it were the only one.

    It rolls back when the canary is significantly worse at alpha over the metrics (Bonferroni), and goes on when every
    required metric is significantly less than its margin worse.
    """

    def __init__(self, world: World, rollouts: int) -> None:
        self._world = world
        self._totals = {name: np.zeros((4, rollouts), np.int64) for name in world.metrics}
        self._harm = _quantile(1 - world.alpha / len(world.metrics))
        self._shown = _quantile(1 - world.alpha)

    def look(self, seen: Seen, moment: Moment) -> Verdicts:
        """By the totals so far."""
        harmed = np.zeros(seen.requests.shape[1], np.bool_)
        shown = np.ones_like(harmed)
        for name, metric in self._world.metrics.items():
            self._totals[name] += seen.outcomes[name]
            difference, error = _difference(self._totals[name])
            harmed |= difference > self._harm * error
            if metric.required:
                shown &= metric.margin - difference > self._shown * error
        return _steps(harmed, shown & (moment.step_seconds >= self._world.bake.total_seconds()), moment.last_step)

    def advanced(self, where: NDArray[np.bool_]) -> None:
        """The totals go on."""


# Argo Rollouts twice: with the limit of its documentation's example (95 % success), and with Flagger's (99 %).
RULES: dict[str, Callable[[World, int], Player]] = {
    "canari": Canari,
    "argo-rollouts": ArgoRollouts,
    "argo-99": partial(ArgoRollouts, limit=0.01),
    "flagger": Flagger,
    "z-test": RepeatedZTest,
}


def _steps(harmed: NDArray[np.bool_], shown: NDArray[np.bool_], last: NDArray[np.bool_]) -> Verdicts:
    done = np.where(last, Verdict.PROMOTE, Verdict.ADVANCE)
    return np.where(harmed, Verdict.ROLL_BACK, np.where(shown, done, Verdict.HOLD)).astype(np.int8)


def _difference(totals: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Canary minus stable, and its standard error; no verdict (an endless error) with fewer than 30 outcomes."""
    stable_n, stable_bad, canary_n, canary_bad = totals
    enough = np.minimum(stable_n, canary_n) >= 30
    n, m = np.maximum(stable_n, 1), np.maximum(canary_n, 1)
    p, q = stable_bad / n, canary_bad / m
    error = np.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    return q - p, np.where(enough & (error > 0), error, np.inf)


def _quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)
