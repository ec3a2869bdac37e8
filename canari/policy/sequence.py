"""The course of a rollout, drawn: where each metric's difference between the versions lay, as time went by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from canari.observations import Metric
from canari.policy.rules import judged
from canari.spec_canary import Canary
from canari.stats import Difference, Method


@dataclass(frozen=True, slots=True)
class Batch:
    """What some looks in a row found of one metric at one step; `at` is the last one's tick (ms since 1970)."""

    metric: Metric
    at: int
    step: int
    stable_n: int
    stable_bad: int
    canary_n: int
    canary_bad: int


@dataclass(frozen=True, slots=True)
class Point:
    """What was known of a metric at a moment (ms since 1970): totals of the rollout, and the difference of the rates.

    `low` and `high` hold "canary - stable" of the rates of bad outcomes, at all points together with the confidence
    that the rule asks for; `difference` is the plain estimate, None until both arms have outcomes.
    """

    at: int
    step: int
    low: float
    high: float
    difference: float | None
    stable_n: int
    stable_bad: int
    canary_n: int
    canary_bad: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """One metric's confidence sequence, the margin that it is held against, and whether a promotion waits for it."""

    metric: Metric
    margin: float
    required: bool
    points: tuple[Point, ...]


def sequences(rules: Canary, batches: Iterable[Batch], *, priors: Mapping[str, float] | None = None) -> list[Sequence]:
    """Each judged metric's confidence sequence, a point after each batch; batches in the order of their time.

    `priors` are stable's rates of before, by metric. Batches may be as coarse as one likes, as long as
    their outcomes do not decide where they end.
    """
    known = priors or {}
    courses = {metric: _Course(method, rules.alpha, known.get(metric)) for metric, (_, method) in judged(rules).items()}
    for batch in batches:
        if batch.metric in courses:
            courses[batch.metric].take(batch)
    return [
        Sequence(metric, margin.margin, margin.required, tuple(courses[metric].points))
        for metric, (margin, _) in judged(rules).items()
    ]


class _Course:
    """One metric's points so far."""

    def __init__(self, method: Method, alpha: float, prior: float | None) -> None:
        self.points: list[Point] = []
        self._bounds = Difference(method, alpha=alpha, prior=prior)
        self._sum = self._weight = 0.0

    def take(self, batch: Batch) -> None:
        """Go on by a batch."""
        counts = batch.stable_n, batch.stable_bad, batch.canary_n, batch.canary_bad
        self._bounds.update(*counts)
        if batch.stable_n and batch.canary_n:
            # The mean of the batches' differences by Mantel and Haenszel's weights: totals would compare different
            # hours, wherever the canary's share of the traffic changed (Greenland and Robins, Biometrics 1985).
            weight = batch.stable_n * batch.canary_n / (batch.stable_n + batch.canary_n)
            self._sum += weight * (batch.canary_bad / batch.canary_n - batch.stable_bad / batch.stable_n)
            self._weight += weight
        low, high = self._bounds.interval
        difference = self._sum / self._weight if self._weight else None
        at = Point(batch.at, batch.step, low, high, difference, *counts)
        if self.points:
            last = self.points[-1]
            at = replace(
                at,
                stable_n=last.stable_n + batch.stable_n,
                stable_bad=last.stable_bad + batch.stable_bad,
                canary_n=last.canary_n + batch.canary_n,
                canary_bad=last.canary_bad + batch.canary_bad,
            )
        self.points.append(at)
