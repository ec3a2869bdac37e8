"""What the judge promises, measured in simulated worlds: false alarms, power, the users' own rule, and its cost.

Each share comes from so many rollouts; its simulation's standard error is printed, and a bar is missed only where the
share lies above it by more than two of them.
"""

from __future__ import annotations

import math
import os
import timeit
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist, median
from typing import Any

import numpy as np
import pytest

from canari.policy import users_unhappy
from canari.simulation.play import Figures as Summed
from canari.simulation.play import play, summed
from canari.simulation.rules import RULES
from canari.simulation.world import World
from canari.stats import RARE, VOTES, OneRate, TwoRates
from tests.acceptance.conftest import FULL, Figures

pytestmark = pytest.mark.timeout(3600)
ROLLOUTS = 10_000 if FULL else 1_000
ALPHA = 0.05
RATES = (0.5, 0.2, 0.1, 0.01, 0.001)
STEPS = {"5/95": (5,), "50/50": (50,), "5 -> 25 -> 50": (5, 25, 50)}
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Cell:
    """One simulation: a world, who decides there, and how often it is played."""

    what: str
    world: World
    rule: str = "canari"
    rollouts: int = ROLLOUTS

    def played(self) -> Summed:
        return summed(play(self.world, RULES[self.rule], self.rollouts, seed=len(self.what)), self.rule)


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    # Where a system can bind this process to some of its cores, those are the ones to use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(cores) as pool:
        yield pool


def played(cells: Iterable[Cell]) -> list[tuple[Cell, Summed]]:
    every = list(cells)
    with processes() as pool:
        return list(zip(every, pool.map(Cell.played, every), strict=True))


def metric_of(rate: float, margins: float, **changes: Any) -> dict[str, Any]:
    """A metric at one rate, the canary worse by so many margins: votes where bad outcomes are common, else errors."""
    common = rate >= 0.05
    margin = 0.05 if common else 0.005
    return {
        "stable": rate,
        "canary": rate + margins * margin,
        "margin": margin,
        "kind": "votes" if common else "rare",
        **changes,
    }


def trouble(rate: float) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What may befall a world, as changes of it and of its metric."""
    return {
        "as it is": ({}, {}),
        "rates that rise by all they are": ({"drift": {"by": rate}}, {}),
        "rates that fall by all they are": ({"drift": {"by": -rate}}, {}),
        "an incident of 10 looks": ({"incident": {"lasts": "10m", "extra": 0.2 if rate >= 0.05 else 0.05}}, {}),
        "votes 70/30": ({}, {"participation": {"stable": 0.7, "canary": 0.3}}),
        "labels late by outcome": ({}, {"labels": {"right": "2m", "wrong": "8m", "age": "40m"}}),
    }


def cells(margins: float) -> Iterator[Cell]:
    """The same worlds for every rate, split and trouble; equal arms are not promoted within their 200 looks."""
    for rate in RATES:
        for steps in STEPS if FULL else list(STEPS)[-1:]:
            for name, (world, metric) in trouble(rate).items():
                traffic = "20/m" if rate >= 0.05 else "20/s"
                if "participation" in metric:
                    traffic = "40/m" if rate >= 0.05 else "40/s"
                last = 200 if steps != "5 -> 25 -> 50" else 60
                values = {
                    "traffic": traffic,
                    "steps": STEPS[steps],
                    "bake": f"{last if margins == 0 else 10}m",
                    "metrics": {"metric": metric_of(rate, margins, **metric)},
                    **world,
                }
                yield Cell(f"{rate:g}, {steps}, {name}", World.model_validate(values))


def worst(figures: Figures, what: str, results: list[tuple[str, float, float]]) -> None:
    """Hold the worst of some shares, each with its standard error, against alpha."""
    for cell, share, error in sorted(results, key=lambda found: -found[1])[:3]:
        figures.note(f"{cell}: {share:.4f} (± {error:.4f})")
    cell, share, error = max(results, key=lambda found: found[1])
    figures.at_most(f"{what}, the worst of {len(results)} worlds ({cell})", share, ALPHA + 2 * error, ".4f")


def test_1_equal_arms_are_not_rolled_back(figures: Figures) -> None:
    results = [(cell.what, f.rolled_back, f.rolled_back_error) for cell, f in played(cells(0))]
    worst(figures, "false roll back between equal arms", results)


def test_1_a_canary_at_the_margin_is_neither_promoted_nor_rolled_back(figures: Figures) -> None:
    results = played(cells(1))
    worst(
        figures,
        "false promotion exactly at the margin",
        [(cell.what, f.promoted, f.promoted_error) for cell, f in results],
    )
    # With labels late by outcome, a few of the wrong answers' come after the age: what is seen is under the margin.
    worst(
        figures,
        "roll back of a canary exactly at the margin",
        [(cell.what, f.rolled_back, f.rolled_back_error) for cell, f in results],
    )


def test_1_three_metrics_together_share_one_alpha(figures: Figures) -> None:
    three = {
        "errors": {"stable": 0.001, "canary": 0.001, "margin": 0.005},
        "satisfaction": {"stable": 0.15, "canary": 0.15, "margin": 0.05, "participation": 0.02},
        "accuracy": {
            "stable": 0.1,
            "canary": 0.1,
            "margin": 0.05,
            "participation": 0.02,
            "labels": {"right": "2m", "wrong": "8m", "age": "40m"},
        },
    }
    troubles: dict[str, dict[str, Any]] = {
        "as it is": {},
        "drift and an incident": {"drift": {"by": 0.0009}, "incident": {"lasts": "10m", "extra": 0.05}},
    }
    for bake in ("200m", "60m"):
        worlds = [
            Cell(name, World.model_validate({"bake": bake, "metrics": three, **change}))
            for name, change in troubles.items()
        ]
        worst(
            figures,
            f"false roll back over three metrics, steps of {bake}",
            [(cell.what, f.rolled_back, f.rolled_back_error) for cell, f in played(worlds)],
        )


def test_1_the_same_worlds_under_the_rules_of_others(figures: Figures) -> None:
    few = 2_000 if FULL else 500
    for margins, told in ((0, "rolled back"), (1, "promoted")):
        for rate in (0.5, 0.1, 0.001):
            chosen = [cell for cell in cells(margins) if cell.what.startswith(f"{rate:g}, 5 -> 25 -> 50")]
            for name in RULES:
                found = played([Cell(cell.what, as_errors(cell.world, rate), name, few) for cell in chosen])
                shares = [f.rolled_back if margins == 0 else f.promoted for _, f in found]
                what = "equal arms" if margins == 0 else "a canary at the margin"
                figures.note(
                    f"{what}, rate {rate:g}, {name}: {told} {min(shares):.3f} to {max(shares):.3f} of the time"
                )
    healthy = World.model_validate(
        {"traffic": "20/s", "steps": [5], "bake": "200m", "metrics": {"errors": metric_of(0.001, 0)}}
    )
    for name in RULES:
        [(_, found_one)] = played([Cell("healthy", healthy, name, few)])
        figures.note(
            f"0.1 % errors in both arms, 5 % share, 200 minutes, {name}: {found_one.rolled_back:.3f} rolled back"
        )


def as_errors(world: World, rate: float) -> World:
    """The same world for rules that only know fixed limits: rare outcomes are errors, with the limit of errors."""
    metric = world.metrics["metric"]
    return world.model_copy(update={"metrics": {"errors" if rate < 0.05 else "satisfaction": metric}})


def fixed_sample(stable: float, canary: float, margin: float, share: float) -> float:
    """Outcomes in both arms that a one-sided z-test at alpha needs for a power of 80 %, looking once."""
    normal = NormalDist()
    variance = stable * (1 - stable) / (1 - share) + canary * (1 - canary) / share
    return (normal.inv_cdf(1 - ALPHA) + normal.inv_cdf(0.8)) ** 2 * variance / (canary - stable - margin) ** 2


@pytest.mark.parametrize(("share", "bar"), [(50, 1.25), (10, 1.0)])
def test_2_dissatisfaction_is_found_with_as_few_votes_as_a_fixed_test(share: int, bar: float, figures: Figures) -> None:
    needed = fixed_sample(0.15, 0.25, 0.05, share / 100)
    each = 20 if share == 50 else 40
    world = World.model_validate(
        {
            "traffic": f"{each}/m",
            "looks": math.ceil(6 * needed / each),
            "steps": [share],
            "bake": "60d",
            "metrics": {"satisfaction": {"stable": 0.15, "canary": 0.25, "margin": 0.05}},
        }
    )
    [(_, found)] = played([Cell("votes", world, rollouts=4_000 if FULL else 1_000)])
    assert found.detection_median is not None
    votes = found.detection_median / 60 * each
    figures.note(f"median votes {votes:.0f}, the fixed-n z-test {needed:.0f}")
    figures.at_most(
        f"satisfaction .85 -> .75 at {100 - share}/{share}, median votes / fixed-n", votes / needed, bar, ".2f"
    )


def failing(canary: float, share: int, *, metrics: int = 3) -> World:
    """20 requests a second, looked at every 5 seconds; errors, and other metrics that are well and share alpha."""
    others = {
        "latency": {"stable": 0.01, "canary": 0.01, "margin": 0.05, "required": False},
        "satisfaction": {"stable": 0.15, "canary": 0.15, "margin": 0.05, "participation": 0.02},
    }
    errors = {"stable": 0.001, "canary": canary, "margin": 0.005}
    return World.model_validate(
        {
            "traffic": "20/s",
            "look": "5s",
            "looks": 6_000,
            "steps": [share],
            "bake": "60d",
            "metrics": {"errors": errors, **(others if metrics == 3 else {})},
        }
    )


def oracle(rollouts: int) -> float:
    """The median time, in seconds, of Wald's test that knows both rates, at alpha/3 and looks of 5 seconds."""
    rng = np.random.default_rng(7)
    requests = rng.poisson(5, (rollouts, 6_000))
    bad = rng.binomial(requests, 0.02)
    evidence = bad * math.log(0.02 / 0.006) + (requests - bad) * math.log(0.98 / 0.994)
    crossed = np.cumsum(evidence, axis=1) >= math.log(3 / ALPHA)
    return float(np.median(5 * (crossed.argmax(axis=1) + 1)))


def test_2_errors_are_found_within_minutes(figures: Figures) -> None:
    count = 4_000 if FULL else 1_000
    expected = [(0.02, 5, 510), (0.05, 5, 90), (0.1, 5, 45), (0.02, 50, 90)]
    found = played(
        [Cell(f"{canary}, {share}", failing(canary, share), rollouts=count) for canary, share, _ in expected]
    )
    for (canary, share, bar), (_, result) in zip(expected, found, strict=True):
        assert result.detection_median is not None
        assert result.detection_90 is not None
        what = (
            f"errors .1 -> {100 * canary:g} % at a share of {share} %, median seconds (90 %: {result.detection_90:.0f})"
        )
        figures.at_most(what, result.detection_median, bar)
    first = found[0][1].detection_median
    assert first is not None
    figures.at_most("the first, against an oracle SPRT", first / oracle(1_000), 1.4, ".2f")
    [(_, argo)] = played([Cell("argo", failing(0.02, 5, metrics=1), "argo-rollouts", 1_000)])
    assert argo.detection_median is not None
    figures.at_least(
        f"the first, times faster than Argo Rollouts at < 5 % ({argo.detection_median / 60:.0f} minutes)",
        argo.detection_median / first,
        5,
    )


def test_3_the_users_rule_fires_when_they_are_unhappy_and_only_then(figures: Figures) -> None:
    worlds, days, votes, predictions = (20_000 if FULL else 4_000), 30, 20, 150
    rng = np.random.default_rng(11)
    for right, most, within in ((0.85, 0.005, None), (0.8, 0.05, None), (0.7, None, 8), (0.65, None, 5)):
        test = OneRate(0.2, VOTES, shape=(worlds,))
        fired = np.full(worlds, np.inf)
        plain = np.zeros(worlds, np.bool_)
        for day in range(1, days + 1):
            bad = rng.binomial(votes, 1 - right, worlds)
            test.update(votes, bad)
            plain |= bad > 0.2 * votes
            speaks = users_unhappy(test.log_worse, day * votes, day * predictions, participation=0.1)
            fired[speaks & np.isinf(fired)] = day
        share = float(np.isfinite(fired).mean())
        if most is not None:
            figures.note(f"the plain daily comparison at {right:.0%}: fires in {plain.mean():.3f} of worlds")
            figures.at_most(f"satisfaction < 80 %, truly {right:.0%}, 30 days: fires in", share, most, ".4f")
        if within is not None:
            figures.at_most(
                f"satisfaction < 80 %, truly {right:.0%}: median days to fire", float(np.median(fired)), within
            )


def test_5_a_look_costs_little(figures: Figures) -> None:
    for name, method, counts in (("votes", VOTES, (19, 3, 6, 1)), ("errors", RARE, (1140, 1, 60, 0))):
        test = TwoRates(0.05, method)

        def look(test: TwoRates = test, counts: tuple[int, ...] = counts) -> None:
            test.update(*counts)
            assert test.log_harm + test.log_no_worse < math.inf

        microseconds = [1e6 * seconds / 100 for seconds in timeit.repeat(look, number=100, repeat=75)]
        figures.note(f"a look at {name}: median {median(microseconds):.0f} µs")
        figures.at_most(f"a look at {name}, both directions, µs", min(microseconds), 150 if FULL else 300)
