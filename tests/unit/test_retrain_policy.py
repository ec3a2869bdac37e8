"""When a model is due to be trained again: each trigger with its sentence, and how often the tests are wrong."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.policy.retrain import (
    HOURS_PER_YEAR,
    YEARS_TO_FALSE_ALARM,
    Facts,
    HourCounts,
    Trigger,
    not_now,
    should_retrain,
)
from canari.spec import Triggers
from canari.stats import VOTES, OneRate, change
from canari.stats.methods import places, weights

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime(2026, 6, 1, 10, tzinfo=UTC)
UNHAPPY = Triggers.model_validate({"satisfaction": {"below": 0.8, "participation": 0.1}})


def hours(*spells: tuple[int, int, int, int]) -> list[HourCounts]:
    """Spells of equal hours: how many, predictions, votes and satisfied ones; labels are as votes."""
    found: list[HourCounts] = []
    for count, predictions, voted, satisfied in spells:
        for _ in range(count):
            hour = BEGIN + timedelta(hours=len(found))
            found.append(HourCounts(hour, predictions, voted, satisfied, voted, satisfied))
    return found


def facts(**known: Any) -> Facts:
    return Facts(model="cats_dogs", stable=3, stable_since=BEGIN, **known)


def test_nothing_is_due_without_a_trigger() -> None:
    assert should_retrain(Triggers(), facts(hours=hours((100, 10, 10, 0)), new_samples=9999), NOW) is None


def test_users_that_were_unhappy_all_along_are_heard() -> None:
    due = should_retrain(UNHAPPY, facts(hours=hours((30, 20, 4, 2))), NOW)
    assert due is not None
    assert (due.trigger, due.since) == (Trigger.SATISFACTION, BEGIN)
    assert due.reason == (
        "feedback: 50 % right of 120 votes on 600 predictions, less than 80 % with over 99.9 % confidence"
    )


def test_a_version_that_was_good_for_months_and_became_bad_is_found_and_since_when() -> None:
    good_then_bad = hours((2000, 20, 5, 5), (40, 20, 5, 3))
    due = should_retrain(UNHAPPY, facts(hours=good_then_bad), NOW)
    assert due is not None
    assert due.trigger is Trigger.SATISFACTION
    assert due.since == BEGIN + timedelta(hours=2000)
    assert due.reason.startswith(
        "feedback since 2026-03-29 08:00 UTC: 60 % right of 200 votes on 800 predictions, less"
    )
    assert due.reason.endswith("years")
    # All the votes since it became stable would not have told.
    votes = sum(hour.voted for hour in good_then_bad)
    right = sum(hour.satisfied for hour in good_then_bad)
    assert right / votes > 0.98


def test_too_few_of_those_who_ask_are_not_heard() -> None:
    assert should_retrain(UNHAPPY, facts(hours=hours((30, 100, 4, 2))), NOW) is None
    lately_silent = hours((2000, 20, 5, 5), (40, 100, 5, 3))
    assert should_retrain(UNHAPPY, facts(hours=lately_silent), NOW) is None


def test_happy_users_and_no_users_are_no_reason() -> None:
    assert should_retrain(UNHAPPY, facts(hours=hours((3000, 20, 5, 4))), NOW) is None
    assert should_retrain(UNHAPPY, facts(hours=hours((30, 0, 0, 0))), NOW) is None
    assert should_retrain(UNHAPPY, facts(), NOW) is None


def test_accuracy_is_under_its_bar_only_where_its_interval_is() -> None:
    low = Triggers(accuracy_below=0.7)
    assert should_retrain(low, facts(held_out=(66, 100)), NOW) is None
    due = should_retrain(low, facts(held_out=(660, 1000)), NOW)
    assert due is not None
    assert due.reason == "accuracy: 66 % of 1,000 held-out samples, 68.9 % at best, under 70 %"


def test_late_labels_tell_of_accuracy_too() -> None:
    due = should_retrain(Triggers(accuracy_below=0.7), facts(held_out=(90, 100), hours=hours((50, 20, 5, 2))), NOW)
    assert due is not None
    assert (due.trigger, due.since) == (Trigger.ACCURACY, BEGIN)
    assert due.reason == "accuracy: 40 % of 250 late labels since 2026-01-05 00:00 UTC, under 70 %"


@pytest.mark.parametrize(("share", "speaks"), [(None, False), (0.0, False), (0.3, False), (0.5, True), (0.9, True)])
def test_drift_speaks_from_its_share_on(share: float | None, *, speaks: bool) -> None:
    assert (should_retrain(Triggers(drift=0.5), facts(drift=share), NOW) is not None) == speaks


def test_enough_new_samples_are_a_reason() -> None:
    enough = Triggers(new_samples=500)
    assert should_retrain(enough, facts(new_samples=499), NOW) is None
    due = should_retrain(enough, facts(new_samples=500), NOW)
    assert due is not None
    assert due.reason == "500 new samples since version 3, which is 500 or more"


def test_a_schedule_is_due_once_for_each_of_its_moments() -> None:
    weekly = Triggers(schedule="0 3 * * 1")
    due = should_retrain(weekly, facts(asked_at=NOW - timedelta(days=1)), NOW)
    assert due is not None
    assert due.reason == "schedule 0 3 * * 1: due at 2026-06-01 03:00 UTC, last done 24 hours ago"
    assert should_retrain(weekly, facts(asked_at=NOW - timedelta(hours=5)), NOW) is None
    with pytest.raises(CanariError, match=r"cats_dogs: triggers\.schedule: 'weekly' is no schedule"):
        should_retrain(Triggers(schedule="weekly"), facts(), NOW)


def test_what_is_due_waits_for_a_job_a_rollout_and_samples_on_their_way() -> None:
    assert not_now(facts(), NOW) is None
    assert "version 4 is on trial" in str(not_now(facts(on_trial=4), NOW))
    assert not_now(facts(waiting=12, on_trial=4), NOW) == "job 12 comes first"
    assert "still coming in" in str(not_now(facts(newest_sample=NOW - timedelta(seconds=20)), NOW))
    assert not_now(facts(newest_sample=NOW - timedelta(minutes=2)), NOW) is None
    an_hour_ago = facts(trained_at=NOW - timedelta(hours=1))
    assert not_now(an_hour_ago, NOW) is None
    assert "at most once a day" in str(not_now(an_hour_ago, NOW, self_labelling=True))


class Detector:
    """The sum of all e-processes, hour by hour, for many versions at once: by the recursion that it obeys."""

    def __init__(self, threshold: float, runs: int) -> None:
        odds = threshold / (1 - threshold) * np.exp(places(VOTES.harm))
        rates = odds / (1 + odds)
        self._bad, self._good = np.log(rates / threshold), np.log((1 - rates) / (1 - threshold))
        self._sums = np.full((runs, len(rates)), -np.inf)

    def hour(self, n: NDArray[np.int64], bad: NDArray[np.int64]) -> NDArray[np.float64]:
        gained = bad[:, None] * self._bad + (n - bad)[:, None] * self._good
        self._sums = np.logaddexp(self._sums, 0.0) + gained
        return np.asarray(np.logaddexp.reduce(self._sums + weights(VOTES.harm), axis=1))


def test_the_evidence_for_a_change_is_the_sum_over_every_hour_it_may_begin_with() -> None:
    random = np.random.default_rng(1)
    n = random.poisson(4, 300)
    bad = random.binomial(n, 0.25)
    detector = Detector(0.2, 1)
    for hour in range(300):
        stepwise = detector.hour(n[hour : hour + 1], bad[hour : hour + 1])[0]
    found = change(0.2, VOTES, n, bad)
    assert found is not None
    assert found.log_evidence == pytest.approx(stepwise)
    assert change(0.2, VOTES, np.array([], int), np.array([], int)) is None


def test_a_version_that_is_just_good_enough_is_called_bad_later_than_promised_on_average() -> None:
    """At a bar of 100 hours, so that it can be waited for; the promise is the same at ten years."""
    random, runs, bar, most = np.random.default_rng(2), 400, math.log(100), 3000
    detector, alarm = Detector(0.2, runs), np.full(runs, most)
    for hour in range(most):
        n = random.poisson(5, runs)
        speaks = detector.hour(n, random.binomial(n, 0.2)) >= bar
        alarm = np.where(speaks & (alarm == most), hour + 1, alarm)
    assert alarm.mean() > 100


def test_in_a_year_of_hourly_looks_hardly_any_good_version_is_called_bad() -> None:
    random, runs = np.random.default_rng(3), 200
    detector, whole = Detector(0.2, runs), OneRate(0.2, VOTES, shape=(runs,))
    lately, always = np.zeros(runs, bool), np.zeros(runs, bool)
    for _ in range(HOURS_PER_YEAR):
        n = random.poisson(3, runs)
        bad = random.binomial(n, 0.2)
        lately |= detector.hour(n, bad) >= math.log(YEARS_TO_FALSE_ALARM * HOURS_PER_YEAR)
        whole.update(n, bad)
        always |= whole.log_worse >= math.log(20)
    assert lately.mean() <= 0.1
    assert always.mean() <= 0.05


def test_a_version_that_becomes_bad_is_found_within_days_however_long_it_was_good() -> None:
    random, runs, good = np.random.default_rng(4), 200, 4000
    detector = Detector(0.2, runs)
    waited = np.full(runs, 10_000)
    for hour in range(good + 400):
        n = random.poisson(3, runs)
        found = detector.hour(n, random.binomial(n, 0.08 if hour < good else 0.4))
        speaks = found >= math.log(YEARS_TO_FALSE_ALARM * HOURS_PER_YEAR)
        if hour >= good:
            waited = np.minimum(waited, np.where(speaks, hour - good + 1, 10_000))
        else:
            assert not speaks.any()
    assert np.median(waited) < 72
    assert waited.max() < 240
