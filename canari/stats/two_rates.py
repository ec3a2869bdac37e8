"""Is the canary's rate of bad outcomes worse than stable's by more than a margin, or surely not? Valid at every look.

An e-process is a running measure of evidence against a hypothesis: under it, the chance that the process ever
reaches 1/alpha is at most alpha (Ville 1939), however often one looks and whenever one stops. Here each batch of
outcomes multiplies the evidence by a likelihood ratio: an alternative, chosen before the batch is seen, against its
reverse information projection on the hypothesis (Gruenwald, de Heide and Koolen, "Safe testing", JRSS B 2024;
Turner, Ly and Gruenwald, "Generic E-variables for exact sequential k-sample tests that allow for optional stopping",
JSPI 2024). A mixture of alternatives is again an e-process (Vovk and Wang, "E-values: calibration, combination and
applications", Annals of Statistics 2021).

Assumed, given the past and the counts of a batch: its outcomes are independent, with one rate per arm within the
batch; the counts do not depend on the batch's own outcomes; both arms see the same population. Rates may move freely
from batch to batch, and so may the share of traffic, even because of past outcomes.
"""

# ruff: noqa: SLF001 - tests of one method are updated together

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canari.stats.methods import Array, Method, places, weights

EDGE = 1e-6  # rates are kept this far from 0 and 1, so that no outcome is impossible
_MOST_STEPS = 40  # three suffice but for margins of a third and more
# A hundredth of the evidence is kept out of each batch, so that a batch which a trouble common to both arms spoils
# costs at most a factor of 100, where all evidence could be lost for good. It costs a hundredth of the speed.
_STAKE, _KEPT = math.log(0.99), math.log(0.01)
# Of stable, the bad ones among them, of the canary, the bad ones.
Outcomes = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
_NEAR = 1e-5  # relative; convergence is cubic, so after such a step the next would be lost in rounding


def projection(margin: ArrayLike, base: ArrayLike, alternative: ArrayLike, canary_share: ArrayLike) -> Array:
    """Stable's rate at the nearest point, in information, on the line "canary = stable + margin". Broadcasts.

    `base` and `alternative` are the arms' rates, `canary_share` the canary's share of the outcomes. The rate u solves

        (1 - w) (u - b) / (u (1 - u)) + w (u + d - q) / ((u + d) (1 - u - d)) = 0,

    which is the middle one of a cubic's three real roots (Miettinen and Nurminen, Statistics in Medicine 1985, solve
    the same one). From any point between the outer two, Laguerre's steps go straight to it, with cubic convergence.
    They begin at the root for Poisson counts, which is the solution where the margin is 0.
    """
    d, b, q, w = (np.asarray(value, np.float64) for value in (margin, base, alternative, canary_share))
    rest = 1 - w
    moved = rest * d
    c0 = moved * b
    mean = rest * b + w * q
    half = (mean - d) / 2
    u = half + np.sqrt(half * half + c0)
    u = np.minimum(u, np.minimum(np.maximum(b, q - d), 1 - d))
    c2 = 1 - d - moved + mean
    c1 = d * (1 - moved) + 2 * c0 - mean
    c0 = c0 * (1 - d)
    for _ in range(_MOST_STEPS):
        value = 3 * (((c2 - u) * u + c1) * u - c0)
        bend = c2 - 3 * u
        slope = (bend + c2) * u + c1
        step = value / (slope + 2 * np.sqrt(np.maximum(slope * slope - value * bend, 0)))
        u = u - step
        if (np.abs(step) <= _NEAR * u).all():
            break
    found: Array = u
    return found


def log_ratios(margin: Array, base: Array, alternatives: Array, counts: NDArray[np.int64]) -> Array:
    """The logarithm of each alternative's likelihood ratio for one batch, shape (tests, alternatives).

    `margin` and `base` are of shape (tests, 1); `counts` of shape (4, tests, 1): stable's outcomes, the bad ones
    among them, the canary's outcomes, the bad ones. An alternative that is part of the hypothesis, or rates that no
    outcome can have, tell nothing: 0.
    """
    stable, stable_bad, canary, canary_bad = counts
    u = projection(margin, base, alternatives, canary / (stable + canary))
    v = np.minimum(np.maximum(u + margin, EDGE / 2), 1 - EDGE / 2)
    u = np.minimum(np.maximum(u, EDGE / 2), 1 - EDGE / 2)
    ratios: Array = (
        stable_bad * np.log(base / u)
        + (stable - stable_bad) * np.log((1 - base) / (1 - u))
        + canary_bad * np.log(alternatives / v)
        + (canary - canary_bad) * np.log((1 - alternatives) / (1 - v))
    )
    return ratios


def mixed(log_ratios: Array, log_weights: Array) -> Array:
    """The logarithm of the mixture's evidence, over the last axis."""
    terms = log_ratios + log_weights
    most = terms.max(axis=-1)
    found: Array = most + np.log(np.exp(terms - most[..., None]).sum(axis=-1))
    return found


class TwoRates:
    """Evidence that the canary is worse than stable by more than `margin`, and evidence that it is not.

    `log_harm` and `log_no_worse` are natural logarithms of e-processes: the first against "canary - stable <= margin",
    the second against "canary - stable >= margin". At `log_harm >= log(1/alpha)` harm is found, and the chance that
    this ever happens to a canary within the margin is at most alpha. Latency is tested the same way: a request that
    exceeds its budget is a bad outcome.

    `margin` (0 to 1), `prior` (stable's rate of old, None: the method's) and the counts broadcast to `shape`, one test
    for each place; a single test has shape (). With a margin of 0 nothing is ever found to be no worse.
    """

    def __init__(
        self, margin: ArrayLike, method: Method, *, prior: ArrayLike | None = None, shape: tuple[int, ...] = ()
    ) -> None:
        self.shape, self.method = shape, method
        size = math.prod(shape)
        self._margin = np.broadcast_to(np.asarray(margin, np.float64), shape).reshape(size, 1)
        if not ((self._margin >= 0) & (self._margin <= 1)).all():
            raise ValueError(f"a margin is a difference of rates, from 0 to 1 (it is {self._margin.ravel()})")
        first = np.broadcast_to(np.asarray(method.prior if prior is None else prior, np.float64), shape)
        self._prior = method.strength * np.clip(first, EDGE, 1 - EDGE).reshape(size)
        self._weights = weights(method.harm), weights(method.no_worse)
        self._odds = np.exp(-places(method.harm))
        self._places = places(method.no_worse)
        self._open = np.zeros((4, size), np.int64)
        self._stable = np.zeros((2, size), np.int64)
        self._logs = np.zeros((size, len(method.harm) + len(method.no_worse)))

    def update(self, stable_n: ArrayLike, stable_bad: ArrayLike, canary_n: ArrayLike, canary_bad: ArrayLike) -> None:
        """Take in whole numbers of outcomes since the last call, and the bad ones among them.

        They are held until both arms have the method's batch. Raises ValueError for counts that cannot be.
        """
        self.update_together([self], [(stable_n, stable_bad, canary_n, canary_bad)])

    @classmethod
    def update_together(cls, tests: Sequence[TwoRates], taken: Sequence[Outcomes]) -> None:
        """Update several tests of one method, as each by itself, at little more than the cost of one."""
        closing: list[tuple[TwoRates, slice | NDArray[np.intp]]] = []
        for test, outcomes in zip(tests, taken, strict=True):
            test._open += _checked(outcomes, test.shape)
            ready = np.minimum(test._open[0], test._open[2]) >= test.method.batch
            if ready.all():
                closing.append((test, slice(None)))
            elif ready.any():
                closing.append((test, np.flatnonzero(ready)))
        if closing:
            cls._close(closing)

    @staticmethod
    def _close(closing: Sequence[tuple[TwoRates, slice | NDArray[np.intp]]]) -> None:
        first = closing[0][0]
        counts = _joined([test._open[:, where] for test, where in closing], axis=1)
        total, bad = _joined([test._stable[:, where] for test, where in closing], axis=1)
        margin = _joined([test._margin[where] for test, where in closing])
        base = (bad + _joined([test._prior[where] for test, where in closing])) / (total + first.method.strength)
        base = np.minimum(np.maximum(base, EDGE), 1 - EDGE)[:, None]
        ratios = log_ratios(margin, base, first._alternatives(margin, base), counts[..., None])
        # Where stable leaves no room for a canary that is worse by the margin, nothing can tell of harm.
        ratios[:, : len(first._odds)] *= base + margin < 1 - EDGE
        gained = np.logaddexp(ratios + _STAKE, _KEPT)
        begin = 0
        for test, where in closing:
            end = begin + len(test._margin[where])
            test._logs[where] += gained[begin:end]
            test._stable[:, where] += test._open[:2, where]
            test._open[:, where] = 0
            begin = end

    def _alternatives(self, margin: Array, base: Array) -> Array:
        border = np.minimum(base + margin, 1 - EDGE)
        harm = border / (border + (1 - border) * self._odds)
        no_worse = np.minimum(np.maximum(base + self._places * margin, base / 2), 1 - EDGE)
        return np.concatenate((harm, no_worse), axis=1)

    @property
    def log_harm(self) -> Array:
        """Evidence that the canary is worse by more than the margin; shape `shape`."""
        return mixed(self._logs[:, : len(self._odds)], self._weights[0]).reshape(self.shape)

    @property
    def log_no_worse(self) -> Array:
        """Evidence that the canary is not worse by the margin or more; shape `shape`."""
        return mixed(self._logs[:, len(self._odds) :], self._weights[1]).reshape(self.shape)

    def restart_no_worse(self, where: ArrayLike = True) -> None:
        """Begin the evidence of "no worse" anew, as each step of a rollout does; `where` tells for which tests."""
        self._logs[np.broadcast_to(np.asarray(where), self.shape).reshape(-1), len(self._odds) :] = 0

    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON values; floats come back from JSON to the bit."""
        return {"open": self._open.tolist(), "stable": self._stable.tolist(), "logs": self._logs.tolist()}

    @classmethod
    def restored(
        cls,
        state: dict[str, Any],
        margin: ArrayLike,
        method: Method,
        *,
        prior: ArrayLike | None = None,
        shape: tuple[int, ...] = (),
    ) -> TwoRates:
        """The test that `state` came from; the other arguments are those it was made with."""
        test = cls(margin, method, prior=prior, shape=shape)
        # As a list, an array without rows has lost its columns.
        logs = np.array(state["logs"] if len(state["logs"]) else test._logs, np.float64)
        values = np.array(state["open"], np.int64), np.array(state["stable"], np.int64), logs
        if [value.shape for value in values] != [test._open.shape, test._stable.shape, test._logs.shape]:
            raise ValueError(
                "this state is of another test: begin anew, or give the margin and method it was made with"
            )
        test._open, test._stable, test._logs = values
        return test


def _joined(arrays: list[Any], axis: int = 0) -> Any:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)


def _checked(counts: Outcomes, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The counts, shape (4, tests)."""
    given = np.array(np.broadcast_arrays(*counts, np.empty(shape))[:4]) if shape else np.array(counts)
    if given.dtype.kind not in "iu":
        raise ValueError("evidence is counted in whole numbers")
    taken: NDArray[np.int64] = given.reshape(4, -1).astype(np.int64, copy=False)
    if (taken[1::2] < 0).any() or (taken[1::2] > taken[::2]).any():
        raise ValueError(f"the bad outcomes must lie between none and all: {counts}")
    return taken
