from __future__ import annotations

import math
import random

import pytest

from canari.bursts import LEAST, Pace, Window, watch
from canari.observations import FaultKind

DAY = 86400.0
# A hundred votes a day, on a tenth of the requests, for ten days.
CALM = Pace(votes=1000, asked=10_000, seconds=10 * DAY)


def poisson(generator: random.Random, mean: float) -> int:
    if mean > 200:
        return round(generator.gauss(mean, math.sqrt(mean)))
    drawn, limit, product = 0, math.exp(-mean), generator.random()
    while product > limit:
        drawn, product = drawn + 1, product * generator.random()
    return drawn


def test_votes_as_they_usually_come_are_no_burst_and_teach_the_pace() -> None:
    pace, fault = watch(CALM, Window(votes=4, asked=40, seconds=3600), version=2)
    assert (pace.votes, pace.asked, pace.seconds, fault) == (1004, 10_040, 10 * DAY + 3600, None)


def test_many_votes_on_few_requests_are_told_and_teach_nothing() -> None:
    pace, fault = watch(CALM, Window(votes=41, asked=45, seconds=60), version=2)
    assert fault is not None
    assert fault.kind is FaultKind.BURST
    assert fault.sentence == (
        "41 people voted on version 2 within 1 min, part of a burst (4.5 are usual on so many requests): the votes of "
        "that time are left out"
    )
    assert (pace.votes, pace.asked, pace.seconds) == (CALM.votes, CALM.asked, CALM.seconds)


def test_many_votes_on_many_requests_are_told_once_a_day_is_known() -> None:
    flood = Window(votes=100, asked=1000, seconds=600)
    _, fault = watch(CALM, flood, version=2)
    assert fault is not None
    assert "(0.7 are usual in that time)" in fault.sentence
    assert watch(Pace(votes=50, asked=500, seconds=DAY / 2), flood, version=2)[1] is None


def test_a_swell_that_no_single_window_shows_is_seen_as_well() -> None:
    pace, told = CALM, 0
    for _ in range(60):
        pace, fault = watch(pace, Window(votes=1, asked=1, seconds=60), version=2)
        told += fault is not None
    assert told > 30


def test_a_burst_is_over_soon_after_its_last_vote() -> None:
    pace, _ = watch(CALM, Window(votes=100_000, asked=100_000, seconds=60), version=2)
    hours, fault = 0, True
    while fault:
        pace, found = watch(pace, Window(votes=4, asked=40, seconds=3600), version=2)
        hours, fault = hours + 1, found is not None
    assert hours <= 3


def test_before_there_is_a_history_votes_are_taken_as_they_come() -> None:
    pace, fault = watch(Pace(), Window(votes=LEAST + 30, asked=500, seconds=60), version=2)
    assert fault is None
    assert watch(Pace(LEAST - 1, 100, 3600), Window(votes=500, asked=500, seconds=60), version=2)[1] is None
    assert watch(pace, Window(votes=500, asked=500, seconds=60), version=2)[1] is not None


@pytest.mark.parametrize("per_day", [20, 100, 5000])
def test_a_year_of_days_with_busy_hours_has_no_burst(per_day: int) -> None:
    generator = random.Random(per_day)
    pace, told = Pace(), 0
    for hour in range(24 * 365):
        # Nearly nobody at night, three times the mean at noon.
        mean = per_day / 24 * (3 if 9 <= hour % 24 < 16 else 0.18)
        window = Window(votes=poisson(generator, mean), asked=poisson(generator, 9 * mean), seconds=3600)
        window = Window(window.votes, window.asked + window.votes, window.seconds)
        pace, fault = watch(pace, window, version=1)
        told += fault is not None
    assert told == 0


def test_one_person_who_votes_again_and_again_is_told_and_the_votes_of_others_stay() -> None:
    pace, fault = watch(CALM, Window(votes=2, asked=60, seconds=600, busiest=43), version=2)
    assert fault is not None
    assert fault.kind is FaultKind.REPEATED
    assert fault.sentence == "one person voted 43 times on version 2 within 10 min: one vote of each person counts"
    assert pace.votes == CALM.votes + 2
