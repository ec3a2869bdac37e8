"""A confidence sequence for the difference of two rates: an interval that holds at all looks together, for pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from canari.stats.methods import Array, Method, places, weights
from canari.stats.two_rates import EDGE, log_ratios, mixed

_HALF = 60  # margins on each side of 0


class Difference:
    """Where "canary - stable", a difference of rates of bad outcomes, lies with probability 1 - alpha at all looks.

    For each margin of a grid, the test of `TwoRates` (its method's alternatives above the margin, and their mirror
    images below) says whether the difference may be as low, and as high; each side may err with alpha/2. The interval
    is what no test has refuted so far (confidence sequences by inversion: Howard, Ramdas, McAuliffe and Sekhon,
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 2021, with the e-process of
    `canari.stats.two_rates` in place of theirs). The grid is finer near 0, and the interval is rounded outwards to it.
    Where rates drift, it is for a difference that does not. It uses the path of the evidence: feed it the batches in
    their order.
    """

    def __init__(self, method: Method, *, alpha: float = 0.05, prior: float | None = None) -> None:
        self._method = method
        side = np.linspace(0, 1, _HALF + 1)[1:] ** 2
        self.grid: Array = np.concatenate((-side[::-1], [0.0], side))
        self._bar = math.log(2 / alpha)
        self._prior = method.strength * min(max(method.prior if prior is None else prior, EDGE), 1 - EDGE)
        self._odds = np.exp(-places(method.harm))
        self._weights = weights(method.harm)
        self._open = np.zeros(4, np.int64)
        self._stable = np.zeros(2, np.int64)
        self._logs = np.zeros((2, self.grid.size, self._odds.size))
        self._low, self._high = 0, self.grid.size - 1

    def update(self, stable_n: ArrayLike, stable_bad: ArrayLike, canary_n: ArrayLike, canary_bad: ArrayLike) -> None:
        """Take in outcomes since the last call, as `TwoRates.update` does."""
        self._open += np.array((stable_n, stable_bad, canary_n, canary_bad))
        if min(self._open[0], self._open[2]) < self._method.batch:
            return
        base = (self._stable[1] + self._prior) / (self._stable[0] + self._method.strength)
        for side, odds in enumerate((self._odds, 1 / self._odds)):
            self._logs[side] += self._ratios(base, odds)
        self._stable += self._open[:2]
        self._open[:] = 0
        above, below = (mixed(logs, self._weights) >= self._bar for logs in self._logs)
        # An end moves past a margin only after all margins beyond it.
        while self._low < self._high and above[self._low]:
            self._low += 1
        while self._high > self._low and below[self._high]:
            self._high -= 1

    def _ratios(self, base: float, odds: Array) -> Array:
        """The last batch's log ratios for margins refuted from above (`odds` under 1) or from below."""
        # Where stable's rate leaves no room beyond a margin, any rate on the far side of it is an alternative.
        border = np.clip(base + self.grid, base / 4, 1 - (1 - base) / 4)[:, None]
        alternatives = border / (border + (1 - border) * odds)
        margin = self.grid[:, None]
        beyond = alternatives - base > margin if odds[0] < 1 else alternatives - base < margin
        rate = np.full_like(margin, base)
        return np.where(beyond, log_ratios(margin, rate, alternatives, self._open[:, None, None]), 0)

    @property
    def interval(self) -> tuple[float, float]:
        """The lowest and the highest difference not refuted so far."""
        return float(self.grid[max(self._low - 1, 0)]), float(self.grid[min(self._high + 1, self.grid.size - 1)])
