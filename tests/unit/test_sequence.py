"""The course of a rollout in figures, from plain batches."""

from __future__ import annotations

import numpy as np
import pytest

from canari.observations import Metric
from canari.policy import judged
from canari.policy.sequence import Batch, sequences
from canari.spec_canary import Canary

RULES = Canary.model_validate({"metrics": {"errors": {"margin": 0.02}, "latency": None, "satisfaction": None}})


def batches(stable: float, canary: float, looks: int = 150, seed: int = 1) -> list[Batch]:
    draws = np.random.default_rng(seed)
    return [
        Batch(Metric.ERRORS, 1000 * at, 0, 90, int(draws.binomial(90, stable)), 60, int(draws.binomial(60, canary)))
        for at in range(looks)
    ]


def test_the_interval_narrows_and_holds_the_truth() -> None:
    errors, throttled = sequences(RULES, batches(0.1, 0.18))
    widths = [point.high - point.low for point in errors.points]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.1 < widths[0]
    assert all(point.low <= 0.08 <= point.high for point in errors.points)
    assert (errors.margin, errors.required) == (0.02, True)
    assert (throttled.metric, throttled.required, throttled.points) == (Metric.THROTTLED, False, ())


def test_points_hold_the_totals_so_far() -> None:
    [first, second] = sequences(
        RULES, [Batch(Metric.ERRORS, 1, 0, 95, 1, 5, 0), Batch(Metric.ERRORS, 2, 1, 75, 2, 25, 1)]
    )[0].points
    assert (first.at, first.step, first.stable_n, first.canary_n) == (1, 0, 95, 5)
    assert (second.step, second.stable_n, second.stable_bad, second.canary_n, second.canary_bad) == (1, 170, 3, 30, 1)


def test_the_estimate_compares_each_time_with_itself() -> None:
    # Both arms fail alike, rarely while the canary is small and often once it is large: totals would say +36 points.
    calm, storm = Batch(Metric.ERRORS, 1, 0, 950, 0, 50, 0), Batch(Metric.ERRORS, 2, 1, 100, 80, 400, 320)
    assert sequences(RULES, [calm, storm])[0].points[-1].difference == pytest.approx(0)


def test_without_anything_to_compare_there_is_no_estimate() -> None:
    [point] = sequences(RULES, [Batch(Metric.ERRORS, 1, 0, 950, 3, 0, 0)])[0].points
    assert (point.low, point.high, point.difference) == (-1, 1, None)


def test_what_is_not_judged_is_left_out() -> None:
    assert set(judged(RULES)) == {Metric.ERRORS, Metric.THROTTLED}
    assert sequences(RULES, [Batch(Metric.PARTICIPATION, 1, 0, 9, 1, 9, 1)])[0].points == ()


def test_what_was_known_of_stable_before_is_begun_with() -> None:
    usual, known = (sequences(RULES, batches(0.2, 0.2, looks=30), priors=p)[0] for p in ({}, {"errors": 0.2}))
    assert known.points[-1].high - known.points[-1].low < usual.points[-1].high - usual.points[-1].low
